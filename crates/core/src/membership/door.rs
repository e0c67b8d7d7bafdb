//! The door of a private network: two devices find out that both are members before either says who it is. The connection under it
//! is encrypted, and both know each other's *ephemeral* keys: keys of one run of a node that say nothing about it.
//!
//! [`Door`] is one side, without any input or output: bytes that came go in, bytes to send come out, until the [`End`].
//!
//! # What is said
//! 1. The dialler *knocks*: it shows that it has secrets of the network, without showing them.
//! 2. The listener *hears* that: it shows that it has one of them. Otherwise it closes, and so does whoever finds anything wrong.
//! 3. One says *who* it is, by its device's signature over both ephemeral keys and both nonces, and the Grants that make the device
//!    a member: so whoever never heard of it can let it in. The other answers with the same, or with *removed*: the Lower that put
//!    the device out.
//! 4. The first one says *come in*, or *removed*.
//!
//! # Who is first
//! Whoever was put out knows old secrets. So nobody is to say first who it is to somebody who may know no newer one: the first is the
//! dialler if its newest secret is the one that both have, or else the listener, if it is its newest one. If both have newer ones, which
//! takes removals on both sides of a split network, the dialler is.
//!
//! # What holds
//! A stranger learns nothing from either side, and nor does one that passes messages on: its ephemeral key is another one. A message
//! that is recorded is of no use later, because of the nonces.

use super::chain::Visitor;
use super::key::SecretKey;
use super::roster::Roster;
use crate::limits::DOOR_SECRETS_MAX;

mod message;
mod outcome;

pub use message::NONCE_BYTES;
pub use outcome::{Admitted, Cause, End, Step};

use message::{COME_IN, HEAR, Hear, Invalid, KNOCK, Knock, Message, Nonce, REMOVED, TAG_BYTES, Tag, WHO, Who};

/// What stands before all that is signed, or authenticated, at a door.
const CONTEXT: &[u8] = b"p2p-sync door 1\0";

/// Who stands at a door, and at which connection.
#[derive(Debug, Clone, Copy)]
pub struct Side<'a> {
    /// The network, as far as it is known here.
    pub roster: &'a Roster,
    /// The key of this device.
    pub device: &'a SecretKey,
    /// The ephemeral key by which the other side knows this connection.
    pub ours: [u8; 32],
    /// The ephemeral key that the other side has proved to have.
    pub theirs: [u8; 32],
}

/// One side of a door.
#[derive(Debug)]
pub struct Door<'a> {
    side: Side<'a>,
    is_dialler: bool,
    secrets: Vec<[u8; 32]>,
    our_nonce: Nonce,
    their_nonce: Nonce,
    state: State,
    /// Over the knock and the answer to it, as bytes.
    said: blake3::Hasher,
    /// What has come of a message.
    unread: Vec<u8>,
}

#[derive(Debug)]
enum State {
    Knocked,
    Listening,
    /// We are first, and have said who we are.
    Told,
    /// They are first.
    Asked,
    /// Both have said it; they have the last word.
    Answered(Admitted),
    Over,
}

impl<'a> Door<'a> {
    /// Knocks. The nonce is random, and never used again.
    pub fn dial(side: Side<'a>, nonce: [u8; NONCE_BYTES]) -> (Self, Step) {
        let mut door = Self::new(side, nonce, true, State::Knocked);
        let Some(newest) = door.secrets.first() else {
            let step = door.refuse(Cause::NoSecret);
            return (door, step);
        };
        let tag = |secret: &[u8; 32]| door.tag(secret, b"D", &[]);
        // Where there are fewer secrets, nobody can tell.
        let mut filler = door.hasher(newest, b"F").finalize_xof();
        let mut tags = [[0; TAG_BYTES]; DOOR_SECRETS_MAX];
        tags.iter_mut().for_each(|tag| filler.fill(tag));
        for (place, secret) in tags.iter_mut().zip(&door.secrets) {
            *place = tag(secret);
        }
        let step = Step::send(&Message::Knock(Box::new(Knock { nonce, tags })));
        door.said.update(&step.send);
        (door, step)
    }

    /// Waits for somebody to knock. The nonce is random, and never used again.
    pub fn listen(side: Side<'a>, nonce: [u8; NONCE_BYTES]) -> Self {
        Self::new(side, nonce, false, State::Listening)
    }

    fn new(side: Side<'a>, nonce: Nonce, is_dialler: bool, state: State) -> Self {
        Self {
            side,
            is_dialler,
            secrets: side.roster.newest_secrets(),
            our_nonce: nonce,
            their_nonce: [0; NONCE_BYTES],
            state,
            said: blake3::Hasher::new(),
            unread: Vec::new(),
        }
    }

    /// Takes bytes that came, however they were cut up.
    pub fn receive(&mut self, bytes: &[u8]) -> Step {
        self.unread.extend_from_slice(bytes);
        let mut step = Step::default();
        while step.end.is_none() && !self.unread.is_empty() {
            let (message, length) = match Message::read(&self.unread, self.expected(), self.side.roster.verify()) {
                Ok(Some(read)) => read,
                Ok(None) => break,
                Err(Invalid(why)) => return self.refuse(Cause::Malformed(why)),
            };
            self.unread.drain(..length);
            if matches!(message, Message::Knock(_) | Message::Hear(_)) {
                self.said.update(&message.to_bytes());
            }
            let next = self.take(message);
            // Whoever has not heard the answer yet has nothing more to say.
            if !next.send.is_empty() && !self.unread.is_empty() {
                return self.refuse(Cause::Malformed("it speaks out of turn"));
            }
            step.send.extend(next.send);
            step.end = next.end;
        }
        if step.end.is_some() {
            self.state = State::Over;
        }
        step
    }

    /// The kinds of messages that may come now.
    fn expected(&self) -> &'static [u8] {
        match self.state {
            State::Knocked => &[HEAR],
            State::Listening => &[KNOCK],
            State::Told => &[WHO, REMOVED],
            State::Asked => &[WHO],
            State::Answered(_) => &[COME_IN, REMOVED],
            State::Over => &[],
        }
    }

    fn take(&mut self, message: Message) -> Step {
        match (std::mem::replace(&mut self.state, State::Over), message) {
            (State::Listening, Message::Knock(knock)) => self.hear(&knock),
            (State::Knocked, Message::Hear(hear)) => self.heard(&hear),
            (State::Told, Message::Who(who)) => match self.judge(*who) {
                Ok(admitted) => Step {
                    send: Message::ComeIn.to_bytes(),
                    end: Some(End::Admitted(admitted)),
                },
                Err(refused) => refused,
            },
            (State::Asked, Message::Who(who)) => match self.judge(*who) {
                Ok(admitted) => {
                    self.state = State::Answered(admitted);
                    self.who()
                }
                Err(refused) => refused,
            },
            (State::Answered(admitted), Message::ComeIn) => End::Admitted(admitted).into(),
            (State::Told | State::Answered(_), Message::Removed(entries)) => End::Removed(entries).into(),
            _ => self.refuse(Cause::Malformed("a message of another kind than may come now")),
        }
    }

    /// Looks for the newest secret of theirs that is known here.
    fn hear(&mut self, knock: &Knock) -> Step {
        self.their_nonce = knock.nonce;
        let known: Vec<Tag> = self.secrets.iter().map(|secret| self.tag(secret, b"D", &[])).collect();
        let both = knock.tags.iter().enumerate().find_map(|(theirs, shown)| {
            let ours = known.iter().position(|tag| is_same(tag, shown))?;
            Some((theirs, ours))
        });
        let Some((theirs, ours)) = both else {
            return self.refuse(Cause::Secret);
        };
        let Some(secret) = self.secrets.get(ours) else {
            return self.refuse(Cause::Secret);
        };
        let is_first = theirs > 0 && ours == 0;
        let hear = Message::Hear(Hear {
            nonce: self.our_nonce,
            is_first,
            tag: self.tag(secret, b"L", &[u8::from(is_first)]),
        });
        let mut step = Step::send(&hear);
        self.said.update(&step.send);
        if is_first {
            step.send.extend(self.who().send);
            self.state = State::Told;
        } else {
            self.state = State::Asked;
        }
        step
    }

    fn heard(&mut self, hear: &Hear) -> Step {
        self.their_nonce = hear.nonce;
        let shows = |secret: &[u8; 32]| is_same(&self.tag(secret, b"L", &[u8::from(hear.is_first)]), &hear.tag);
        let Some(both) = self.secrets.iter().position(shows) else {
            return self.refuse(Cause::Secret);
        };
        if hear.is_first {
            if both == 0 {
                return self.refuse(Cause::Malformed("it is first where we are"));
            }
            self.state = State::Asked;
            return Step::default();
        }
        self.state = State::Told;
        self.who()
    }

    /// Says who we are.
    fn who(&self) -> Step {
        let (device, root) = (self.side.device.public(), self.side.roster.root());
        Step::send(&Message::Who(Box::new(Who {
            device,
            signature: self.side.device.sign(&self.signed(self.is_dialler, &root)),
            root,
            // Whoever has none is refused, unless they know better.
            chain: self.side.roster.chain_of(&device).unwrap_or_default(),
        })))
    }

    fn judge(&mut self, who: Who) -> Result<Admitted, Step> {
        let verify = self.side.roster.verify();
        if !verify(&who.device, &self.signed(!self.is_dialler, &who.root), &who.signature) {
            return Err(self.refuse(Cause::Signature));
        }
        match self.side.roster.visitor(&who.device, &who.chain) {
            Visitor::Member(entries) => Ok(Admitted {
                device: who.device,
                root: who.root,
                entries,
            }),
            Visitor::Out(entries) => Err(Step {
                send: Message::Removed(entries).to_bytes(),
                end: Some(End::Refused(Cause::Out(who.device))),
            }),
            Visitor::Stranger => Err(self.refuse(Cause::Stranger)),
        }
    }

    fn refuse(&mut self, cause: Cause) -> Step {
        self.state = State::Over;
        End::Refused(cause).into()
    }

    /// What one side signs: for this network, these ephemeral keys, and what was said before, both nonces among it.
    fn signed(&self, by_dialler: bool, root: &[u8; 32]) -> Vec<u8> {
        let network = self.side.roster.entries().network();
        let by: &[u8] = if by_dialler { b"D" } else { b"L" };
        let (dialler, listener) = self.ephemeral();
        let said = self.said.finalize();
        [CONTEXT, &network.0, by, dialler, listener, said.as_bytes(), root].concat()
    }

    /// The ephemeral keys, the dialler's first.
    fn ephemeral(&self) -> (&[u8; 32], &[u8; 32]) {
        let (ours, theirs) = (&self.side.ours, &self.side.theirs);
        if self.is_dialler {
            (ours, theirs)
        } else {
            (theirs, ours)
        }
    }

    /// What only somebody with the secret can say here. The listener's nonce is not known to the dialler when it knocks.
    fn tag(&self, secret: &[u8; 32], by: &[u8; 1], more: &[u8]) -> Tag {
        let mut tag = [0; TAG_BYTES];
        let mut hasher = self.hasher(secret, by);
        hasher.update(more).finalize_xof().fill(&mut tag);
        tag
    }

    fn hasher(&self, secret: &[u8; 32], by: &[u8; 1]) -> blake3::Hasher {
        let (dialler, listener) = self.ephemeral();
        let (first, second) = if self.is_dialler {
            (&self.our_nonce, &self.their_nonce)
        } else {
            (&self.their_nonce, &self.our_nonce)
        };
        let mut hasher = blake3::Hasher::new_keyed(secret);
        hasher
            .update(CONTEXT)
            .update(by)
            .update(dialler)
            .update(listener)
            .update(first);
        if by == b"L" {
            hasher.update(second);
        }
        hasher
    }
}

/// Takes as long wherever they differ.
fn is_same(one: &Tag, other: &Tag) -> bool {
    one.iter()
        .zip(other)
        .fold(0, |differ, (one, other)| differ | (one ^ other))
        == 0
}
