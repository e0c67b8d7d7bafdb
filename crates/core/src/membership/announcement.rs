//! How a device of a private network is announced on the LAN: members recognise it, and everybody else sees noise that is another one at
//! each start.

use data_encoding::BASE64URL_NOPAD;

use super::key::PublicKey;

/// Bytes of the salt.
pub const SALT_BYTES: usize = 8;
/// Bytes that show that somebody has the secret.
const TAG_BYTES: usize = 16;
const BYTES: usize = SALT_BYTES + 32 + TAG_BYTES;

/// What stands before all that is made with the secret here.
const CONTEXT: &[u8] = b"p2p-sync announcement 1\0";

/// The text that tells members who is announced at this port. The salt is random, and used for this one text: with the same secret and
/// salt, two texts would tell what two keys differ in.
pub fn seal(device: &PublicKey, secret: &[u8; 32], port: u16, salt: [u8; SALT_BYTES]) -> String {
    let mut sealed = salt.to_vec();
    sealed.extend(masked(secret, salt, device.as_bytes()));
    let tag = tag(secret, port, &sealed);
    sealed.extend(tag);
    BASE64URL_NOPAD.encode(&sealed)
}

/// Who is announced at this port by that text, if it is made with one of these secrets.
pub fn open(text: &str, port: u16, secrets: &[[u8; 32]]) -> Option<PublicKey> {
    let sealed: [u8; BYTES] = BASE64URL_NOPAD.decode(text.as_bytes()).ok()?.try_into().ok()?;
    let (said, shown) = sealed.split_last_chunk::<TAG_BYTES>()?;
    let secret = secrets.iter().find(|secret| tag(secret, port, said) == *shown)?;
    let (salt, hidden) = said.split_first_chunk::<SALT_BYTES>()?;
    PublicKey::from_bytes(masked(secret, *salt, hidden.try_into().ok()?)).ok()
}

/// Hides a key, or shows it.
fn masked(secret: &[u8; 32], salt: [u8; SALT_BYTES], key: &[u8; 32]) -> [u8; 32] {
    let mut masked = [0; 32];
    hasher(secret, b"K").update(&salt).finalize_xof().fill(&mut masked);
    masked.iter_mut().zip(key).for_each(|(mask, byte)| *mask ^= byte);
    masked
}

fn tag(secret: &[u8; 32], port: u16, said: &[u8]) -> [u8; TAG_BYTES] {
    let mut tag = [0; TAG_BYTES];
    let mut hasher = hasher(secret, b"T");
    hasher.update(&port.to_le_bytes()).update(said);
    hasher.finalize_xof().fill(&mut tag);
    tag
}

fn hasher(secret: &[u8; 32], of: &[u8; 1]) -> blake3::Hasher {
    let mut hasher = blake3::Hasher::new_keyed(secret);
    hasher.update(CONTEXT).update(of);
    hasher
}
