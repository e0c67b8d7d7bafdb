//! Commands as the shell sends them: JSON in, the reply as lines of JSON out.

use std::convert::Infallible;
use std::future::ready;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use futures::future::Either;
use futures::stream::{once, unfold};
use futures::{Stream, StreamExt};
use tokio::time::timeout;

use super::problem::Problem;
use super::query::Query;
use super::routes::typed;
use super::{Api, body};
use crate::command::{Class, Command, CommandError, Page, Progress, Reply};
use crate::report::line;

/// The largest command: a value with every byte escaped, or some thousand keys to delete.
const BYTES_MAX: usize = 1 << 20;
/// How often a command that is under way gives a sign of life: whoever waits for it can tell it from a node that is stuck.
const PULSE: Duration = Duration::from_millis(500);
/// The type of lines of JSON.
pub(super) const NDJSON: &str = "application/x-ndjson";

type Answer = Result<Reply, CommandError>;
type Running = Pin<Box<dyn Future<Output = Answer> + Send>>;
type Piece = Result<Bytes, Infallible>;

/// Carries a command out. Each line of the answer is a `Result<Reply, CommandError>`; a list sends one for each page. One that takes long
/// sends empty lines meanwhile, or says how far it is.
#[utoipa::path(
    post,
    path = "/v1/command",
    operation_id = "run_command",
    tag = "node",
    request_body(content = Object, content_type = "application/json", description = "A command as the program itself sends it, such as `{\"get\":{\"key\":\"hello\"}}`; it may change between versions"),
    responses(
        (status = 200, description = "The command was understood. Each line is `{\"Ok\":REPLY}` or `{\"Err\":FAILURE}`", body = String, content_type = "application/x-ndjson")
    )
)]
pub(super) async fn run(State(api): State<Arc<Api>>, query: Query, request: Request) -> Result<Response, Problem> {
    query.end()?;
    let (command, permit): (Command, _) = body::json(&api, request, BYTES_MAX).await?;
    if matches!(command, Command::Exit(_)) {
        let text = "`exit` is for the prompt of a node. To stop one that runs elsewhere, send its process SIGTERM.";
        let refused: Answer = Err(CommandError::new(Class::Usage, text));
        return Ok(typed(NDJSON, line(&refused)));
    }
    let (progress, node) = (Progress::default(), api.node.clone());
    let counted = progress.clone();
    let mut running: Running = Box::pin(async move {
        let reply = command.run_counting(&node, &counted).await;
        drop(permit);
        reply
    });
    Ok(match timeout(PULSE, &mut running).await {
        Ok(Ok(Reply::Listed(page))) => typed(NDJSON, Body::from_stream(pages(api, page))),
        Ok(reply) => typed(NDJSON, line(&reply)),
        Err(_) => typed(NDJSON, Body::from_stream(slowly(api, running, progress))),
    })
}

/// The signs of life of a command that takes long, and its answer.
fn slowly(api: Arc<Api>, running: Running, progress: Progress) -> impl Stream<Item = Piece> {
    signs_of_life(running, progress).flat_map(move |reply| match reply {
        // An empty line says nothing but that the node is there.
        None => Either::Left(once(ready(Ok(Bytes::from_static(b"\n"))))),
        Some(Ok(Reply::Listed(page))) => Either::Right(pages(Arc::clone(&api), page)),
        Some(reply) => Either::Left(once(ready(Ok(Bytes::from(line(&reply)))))),
    })
}

/// How far it is, or none where that is known, again and again; the answer is the last one.
fn signs_of_life(running: Running, progress: Progress) -> impl Stream<Item = Option<Answer>> {
    unfold((Some(running), 0), move |(running, told)| {
        let progress = progress.clone();
        async move {
            let mut running = running?;
            match timeout(PULSE, &mut running).await {
                Ok(reply) => Some((Some(reply), (None, told))),
                Err(_) if progress.keys() == told => Some((None, (Some(running), told))),
                Err(_) => {
                    let keys = progress.keys();
                    Some((Some(Ok(Reply::UnderWay(keys))), (Some(running), keys)))
                }
            }
        }
    })
}

/// One line for each page, read when the one before it has been sent.
fn pages(api: Arc<Api>, first: Page) -> impl Stream<Item = Piece> {
    unfold((api, Some(first), true), |(api, page, is_first)| async move {
        let page = page?;
        let page = if is_first {
            Ok(page)
        } else {
            match page.next(&api.node).await {
                Ok(next) => Ok(next?),
                Err(error) => Err(error),
            }
        };
        let reply = page.map(Reply::Listed);
        let text = Bytes::from(line(&reply));
        let page = match reply {
            Ok(Reply::Listed(page)) => Some(page),
            _ => None,
        };
        Some((Ok(text), (api, page, false)))
    })
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    #[tokio::test]
    async fn a_command_that_takes_long_says_that_it_lives_and_how_far_it_is() {
        let progress = Progress::default();
        let counted = progress.clone();
        let running: Running = Box::pin(async move {
            sleep(PULSE * 2 + PULSE / 2).await;
            counted.set(7);
            sleep(PULSE * 2).await;
            Ok(Reply::Exit)
        });
        let told: Vec<_> = signs_of_life(running, progress).collect().await;
        // How many are empty is a matter of time.
        let told: Vec<_> = told.into_iter().flatten().collect();
        assert_eq!(told, [Ok(Reply::UnderWay(7)), Ok(Reply::Exit)]);
    }
}
