//! The bytes of an entry's body. There is one way to write each: what is read and written again comes out the same.

use super::{Entry, EntryId, InvalidEntry, MemberName, NextSecret, Role, ShortId, Statement};
use crate::limits::ENTRY_BYTES_MAX;
use crate::membership::key::PublicKey;
use crate::network::NetworkName;
use crate::signature::SIGNATURE_BYTES;
use crate::sync::InvalidFrame;
use crate::sync::codec::{Reader, Writer};
use crate::time::Timestamp;

const VERSION: u8 = 1;
const GENESIS: u8 = 1;
const GRANT: u8 = 2;
const LOWER: u8 = 3;
const KEEP: u8 = 4;

impl From<InvalidFrame> for InvalidEntry {
    fn from(error: InvalidFrame) -> Self {
        match error {
            InvalidFrame::Malformed(what) => Self::Malformed(what),
            InvalidFrame::Short | InvalidFrame::TooLong { .. } => Self::Short,
        }
    }
}

impl Role {
    /// Its number in entries and on disk: 0 out, 1 reader, 2 writer, 3 admin.
    pub fn number(self) -> u8 {
        match self {
            Self::Out => 0,
            Self::Reader => 1,
            Self::Writer => 2,
            Self::Admin => 3,
        }
    }

    /// The role of a number; none if there is none.
    pub fn from_number(number: u8) -> Option<Self> {
        [Self::Out, Self::Reader, Self::Writer, Self::Admin]
            .into_iter()
            .find(|role| role.number() == number)
    }
}

impl Entry {
    pub(super) fn body(&self) -> Vec<u8> {
        let mut w = Writer::new();
        let (kind, network) = match self.statement {
            Statement::Genesis { .. } => (GENESIS, [0; 32]),
            Statement::Grant { .. } => (GRANT, self.network.0),
            Statement::Lower { .. } => (LOWER, self.network.0),
            Statement::Keep { .. } => (KEEP, self.network.0),
        };
        w.byte(VERSION);
        w.byte(kind);
        w.fixed(&network);
        w.fixed(self.signer.as_bytes());
        w.fixed(&self.time.as_nanos().to_le_bytes());
        write_statement(&mut w, &self.statement);
        w.into_bytes()
    }

    /// Reads a body, which is all of `bytes`. The id and the signature are the caller's to fill in.
    pub(super) fn read_body(bytes: &[u8]) -> Result<Self, InvalidEntry> {
        let r = &mut Reader::new(bytes);
        if r.byte()? != VERSION {
            return Err(InvalidEntry::Malformed("an unknown version"));
        }
        let kind = r.byte()?;
        let network = EntryId(r.array()?);
        if kind == GENESIS && network.0 != [0; 32] {
            return Err(InvalidEntry::Malformed("a network founded inside another"));
        }
        let signer = read_key(r)?;
        let time = Timestamp::from_nanos(i64::from_le_bytes(r.array()?))
            .map_err(|_| InvalidEntry::Malformed("a time before 1970, or beyond what can be"))?;
        let entry = Self {
            id: EntryId([0; 32]),
            network,
            signer,
            time,
            statement: read_statement(r, kind)?,
            signature: [0; SIGNATURE_BYTES],
        };
        // Numbers could be written longer than they are; and something may stand behind the end.
        if entry.body() != bytes {
            return Err(InvalidEntry::Malformed("not the one way to write it"));
        }
        Ok(entry)
    }
}

fn write_statement(w: &mut Writer, statement: &Statement) {
    match statement {
        Statement::Genesis {
            recovery,
            secret,
            nonce,
            name,
        } => {
            w.fixed(recovery.as_bytes());
            w.fixed(secret);
            w.fixed(nonce);
            w.bytes(name.as_str().as_bytes());
        }
        Statement::Grant { device, role, name } => {
            w.fixed(device.as_bytes());
            w.byte(role.number());
            w.bytes(name.as_str().as_bytes());
        }
        Statement::Lower {
            device,
            to,
            secret,
            accepted,
        } => {
            w.fixed(device.as_bytes());
            w.byte(to.number());
            w.number(secret.map_or(0, |next| next.epoch));
            w.fixed(&secret.map_or([0; 32], |next| next.hash));
            w.length(accepted.len());
            for id in accepted {
                w.fixed(&id.0);
            }
        }
        Statement::Keep {
            device,
            salt,
            count,
            list,
        } => {
            w.fixed(device.as_bytes());
            w.fixed(salt);
            w.number(*count);
            w.fixed(list);
        }
    }
}

fn read_statement(r: &mut Reader<'_>, kind: u8) -> Result<Statement, InvalidEntry> {
    Ok(match kind {
        GENESIS => Statement::Genesis {
            recovery: read_key(r)?,
            secret: r.array()?,
            nonce: r.array()?,
            name: read_text(r)?
                .parse::<NetworkName>()
                .map_err(|_| InvalidEntry::Malformed("not a network's name"))?,
        },
        GRANT => Statement::Grant {
            device: read_key(r)?,
            role: read_role(r)?,
            name: MemberName::new(read_text(r)?).map_err(|_| InvalidEntry::Malformed("not a device's name"))?,
        },
        LOWER => {
            let (device, to) = (read_key(r)?, read_role(r)?);
            let (epoch, hash) = (r.number()?, r.array()?);
            let none = epoch == 0 && hash == [0; 32];
            let count = r.count(16, ENTRY_BYTES_MAX / 16)?;
            let accepted = (0..count).map(|_| Ok(ShortId(r.array()?)));
            Statement::Lower {
                device,
                to,
                secret: (!none).then_some(NextSecret { epoch, hash }),
                accepted: accepted.collect::<Result<_, InvalidFrame>>()?,
            }
        }
        KEEP => Statement::Keep {
            device: read_key(r)?,
            salt: r.array()?,
            count: r.number()?,
            list: r.array()?,
        },
        _ => return Err(InvalidEntry::Malformed("an unknown kind")),
    })
}

fn read_key(r: &mut Reader<'_>) -> Result<PublicKey, InvalidEntry> {
    PublicKey::from_bytes(r.array()?).map_err(|_| InvalidEntry::Malformed("not a usable key"))
}

fn read_role(r: &mut Reader<'_>) -> Result<Role, InvalidEntry> {
    Role::from_number(r.byte()?).ok_or(InvalidEntry::Malformed("an unknown role"))
}

fn read_text<'a>(r: &mut Reader<'a>) -> Result<&'a str, InvalidEntry> {
    std::str::from_utf8(r.bytes()?).map_err(|_| InvalidEntry::Malformed("a name that is not UTF-8"))
}
