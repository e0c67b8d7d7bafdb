//! The answers to a command, wherever they come from.

use std::pin::Pin;

use futures::{Stream, StreamExt};

use super::direct::Direct;
use crate::client::{ClientError, Replies};
use crate::command::{CommandError, Reply};

type Answer = Result<Reply, CommandError>;

/// Answers, one after the other: those to a list page by page.
pub(super) struct Answers(From);

enum From {
    Node(Replies),
    Store {
        direct: Direct,
        answers: Pin<Box<dyn Stream<Item = Answer>>>,
    },
}

impl Answers {
    /// From a node that runs.
    pub(super) fn remote(replies: Replies) -> Self {
        Self(From::Node(replies))
    }

    /// From the store itself.
    pub(super) fn direct(direct: Direct, answers: impl Stream<Item = Answer> + 'static) -> Self {
        let answers = Box::pin(answers);
        Self(From::Store { direct, answers })
    }

    /// The next one; none at the end.
    ///
    /// # Errors
    /// When the node has gone away.
    pub(super) async fn next(&mut self) -> Result<Option<Answer>, ClientError> {
        match &mut self.0 {
            From::Node(replies) => replies.next().await,
            From::Store { answers, .. } => Ok(answers.next().await),
        }
    }

    /// Whether nobody else can use the data directory until they [end](Self::end).
    pub(super) fn hold_the_directory(&self) -> bool {
        matches!(self.0, From::Store { .. })
    }

    /// Ends what gave them.
    pub(super) async fn end(self) {
        if let From::Store { direct, answers } = self.0 {
            drop(answers);
            direct.end().await;
        }
    }
}
