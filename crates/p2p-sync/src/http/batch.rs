//! Several writes at once, all or none.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use p2p_sync_core::{Content, Value};

use super::problem::Problem;
use super::query::{Query, key};
use super::routes::json;
use super::{Api, body, kv};
use crate::node::{Condition, NodeError, Terms, Write};
use crate::report::{Batch, BatchWritten, Operation, Written};

/// Writes in one batch.
const OPERATIONS_MAX: usize = 1_000;
/// The largest body: 16 MiB, which is all the memory that a batch takes before it is written.
const BYTES_MAX: usize = 16 << 20;

/// Makes all writes of a batch in one transaction.
#[utoipa::path(
    post,
    path = "/v1/batch",
    operation_id = "write_batch",
    tag = "keys",
    request_body(content = ref("#/components/schemas/Batch"), content_type = "application/json", description = "The writes; 16 MiB at most"),
    responses(
        (status = 200, description = "All of it is on the disk", body = ref("#/components/schemas/BatchWritten")),
        (status = 412, description = "A condition does not hold; nothing was changed", body = ref("#/components/schemas/Problem"), content_type = "application/problem+json"),
        (status = 413, description = "The batch is too large; nothing was changed", body = ref("#/components/schemas/Problem"), content_type = "application/problem+json")
    )
)]
pub(super) async fn write(State(api): State<Arc<Api>>, query: Query, request: Request) -> Result<Response, Problem> {
    query.end()?;
    let (batch, _permit): (Batch, _) = body::json(&api, request, BYTES_MAX).await?;
    if !(1..=OPERATIONS_MAX).contains(&batch.operations.len()) {
        return Err(Problem::invalid(format!(
            "A batch has 1 to {OPERATIONS_MAX} operations, and this one has {}. Nothing was changed.",
            batch.operations.len()
        )));
    }
    let mut writes = Vec::with_capacity(batch.operations.len());
    for (index, operation) in batch.operations.into_iter().enumerate() {
        writes.push(read(operation).map_err(|problem| problem.of_operation(index))?);
    }
    let keys: Vec<String> = writes.iter().map(|write| write.key.as_str().to_owned()).collect();
    let done = api.node.write_all(writes).await.map_err(|error| match error {
        NodeError::OfWrites { index, error } => Problem::from(*error).of_operation(index),
        other => other.into(),
    })?;
    let results = keys.into_iter().zip(done).map(|(key, record)| match record {
        Some(record) => kv::written(&api.node, &record),
        None => Written {
            key,
            written: false,
            timestamp: None,
            author: None,
            accepted_from: None,
        },
    });
    Ok(json(&BatchWritten {
        results: results.collect(),
    }))
}

fn read(operation: Operation) -> Result<Write, Problem> {
    let (name, content, if_absent, if_timestamp) = match operation {
        Operation::Put(put) => {
            let bytes = put
                .bytes()
                .ok_or_else(|| Problem::invalid("A put needs either `value`, or `value_b64` in base64."))?;
            let value = Value::new(bytes).map_err(|error| Problem::invalid(format!("Value too large: {error}.")))?;
            (put.key, Content::Put(value), put.if_absent, put.if_timestamp)
        }
        Operation::Delete(delete) => (delete.key, Content::Deleted, false, delete.if_timestamp),
    };
    let condition = match (if_absent, if_timestamp) {
        (false, None) => Condition::None,
        (true, None) => Condition::Absent,
        (false, Some(text)) => {
            let at = text
                .parse()
                .map_err(|_| Problem::invalid(format!("Invalid timestamp: {text}.")))?;
            Condition::WrittenAt(at)
        }
        (true, Some(_)) => return Err(Problem::invalid("`if_absent` and `if_timestamp` exclude each other.")),
    };
    let terms = Terms {
        condition,
        ..Terms::default()
    };
    let key = key(name)?;
    Ok(Write { key, content, terms })
}
