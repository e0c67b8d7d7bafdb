//! The bytes of what is said, and of announcements.

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};

use super::*;

/// The bytes as PROTOCOL.md describes them, put together by hand.
#[test]
fn each_message_has_the_bytes_that_are_written_down() {
    let (laptop, phone) = (home_alone(LAPTOP), home_alone(PHONE));
    let talk = Pair::new((&laptop, LAPTOP), (&phone, PHONE)).meet();
    let said: Vec<&[u8]> = talk.said.iter().map(|(_, bytes)| bytes.as_slice()).collect();
    let keyed = |parts: &[&[u8]]| {
        let mut hasher = blake3::Hasher::new_keyed(&[7; 32]);
        hasher.update(b"p2p-sync door 1\0");
        for part in parts {
            hasher.update(part);
        }
        hasher.finalize_xof()
    };
    let (dialler, listener) = ([0x0d; 16], [0x01; 16]);
    let mut knock = vec![0x91, 0x08, 1];
    knock.extend(dialler);
    let mut tags = [0; 16 * 64];
    keyed(&[b"F", &DIALLER, &LISTENER, &dialler]).fill(&mut tags);
    keyed(&[b"D", &DIALLER, &LISTENER, &dialler]).fill(&mut tags[..16]);
    knock.extend(tags);
    assert_eq!(said[0], knock);
    let mut hear = vec![34, 2];
    hear.extend(listener);
    hear.push(0);
    let mut tag = [0; 16];
    keyed(&[b"L", &DIALLER, &LISTENER, &dialler, &listener, &[0]]).fill(&mut tag);
    hear.extend(tag);
    assert_eq!(said[1], hear);
    let before = blake3::hash(&[knock, hear].concat());
    for (number, roster, who, by) in [(2, &laptop, LAPTOP, b"D"), (3, &phone, PHONE, b"L")] {
        let message = [
            &b"p2p-sync door 1\0"[..],
            &network(roster).0,
            by,
            &DIALLER,
            &LISTENER,
            before.as_bytes(),
            &roster.root(),
        ];
        let mut body = vec![3];
        body.extend(device(who).as_bytes());
        body.extend(key(who).sign(&message.concat()));
        body.extend(roster.root());
        let chain = roster.chain_of(&device(who)).unwrap();
        body.push(u8::try_from(chain.len()).unwrap());
        for entry in chain {
            let entry = entry.to_bytes();
            body.extend([(entry.len() & 0x7f) as u8 | 0x80, (entry.len() >> 7) as u8]);
            body.extend(entry);
        }
        let length = body.len();
        body.splice(0..0, [(length & 0x7f) as u8 | 0x80, (length >> 7) as u8]);
        assert_eq!(said[number], body);
    }
    assert_eq!(said[4], [1, 5]);
    let all = blake3::hash(&said.concat());
    assert_eq!(HEXLOWER.encode(all.as_bytes()), CONVERSATION);
    let mut after = home_alone(PHONE);
    let out = put_out(&mut after, FOUNDER, LAPTOP, 1);
    let talk = Pair::new((&laptop, LAPTOP), (&after, PHONE)).meet();
    let entry = out.to_bytes();
    let mut told = vec![4, 1, (entry.len() & 0x7f) as u8 | 0x80, (entry.len() >> 7) as u8];
    told.extend(entry);
    let length = told.len();
    told.splice(0..0, [(length & 0x7f) as u8 | 0x80, (length >> 7) as u8]);
    assert_eq!(talk.said[3].1, told);
    assert!(told.len() < DOOR_MESSAGE_BYTES_MAX);
}

const CONVERSATION: &str = "ff0231aa737bc567777c58ec6bdcc7a47a5782994473caa3f78f5ef44460617d";

#[test]
fn an_announcement_is_read_by_members_alone() {
    let secrets = [[9; 32], [7; 32]];
    let text = seal(&device(LAPTOP), &[7; 32], 4002, [0x5a; 8]);
    assert_eq!(text, ANNOUNCEMENT);
    assert_eq!(open(&text, 4002, &secrets), Some(device(LAPTOP)));
    assert_eq!(open(&text, 4003, &secrets), None, "at another port");
    assert_eq!(open(&text, 4002, &secrets[..1]), None);
    assert_eq!(open(&text, 4002, &[]), None);
    assert_eq!(open(&text.to_lowercase(), 4002, &secrets), None);
    let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).unwrap();
    assert!(
        !bytes
            .windows(8)
            .any(|part| device(LAPTOP).as_bytes().windows(8).any(|key| key == part))
    );
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let text = BASE64URL_NOPAD.encode(&flipped);
        assert_eq!(open(&text, 4002, &secrets), None, "{bit}");
    }
    for cut in 0..text.len() {
        assert_eq!(open(&text[..cut], 4002, &secrets), None);
    }
    // Two starts have nothing in common.
    let again = seal(&device(LAPTOP), &[7; 32], 4002, [0x5b; 8]);
    let other = BASE64URL_NOPAD.decode(again.as_bytes()).unwrap();
    assert!(
        !bytes
            .windows(4)
            .any(|part| other.windows(4).any(|theirs| theirs == part))
    );
}

const ANNOUNCEMENT: &str = "WlpaWlpaWlpsmxB1-kC-uOnKvWRVW7gm5R62gejTkUCJT7_Xu5YnlOpoamTx_KAOteoWZhrDEBw";
