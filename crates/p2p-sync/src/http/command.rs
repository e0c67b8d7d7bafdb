//! Commands as the shell sends them: JSON in, the reply as lines of JSON out.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use futures::stream::unfold;

use super::problem::Problem;
use super::query::Query;
use super::routes::typed;
use super::{Api, body};
use crate::command::{Class, Command, CommandError, Page, Reply};
use crate::report::line;

/// The largest command: a value with every byte escaped, or some thousand keys to delete.
const BYTES_MAX: usize = 1 << 20;
/// The type of lines of JSON.
pub(super) const NDJSON: &str = "application/x-ndjson";

/// Carries a command out. Each line of the answer is a `Result<Reply, CommandError>`; a list sends one for each page.
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
    let reply = match command {
        Command::Exit(_) => Err(CommandError::new(
            Class::Usage,
            "`exit` is for the prompt of a node. To stop one that runs elsewhere, send its process SIGTERM.",
        )),
        command => command.run(&api.node).await,
    };
    drop(permit);
    Ok(match reply {
        Ok(Reply::Listed(page)) => typed(NDJSON, pages(api, page)),
        reply => typed(NDJSON, line(&reply)),
    })
}

/// One line for each page, read when the one before it has been sent.
fn pages(api: Arc<Api>, first: Page) -> Body {
    let lines = unfold((api, Some(first), true), |(api, page, is_first)| async move {
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
        Some((Ok::<_, std::convert::Infallible>(text), (api, page, false)))
    });
    Body::from_stream(lines)
}
