//! The description of all routes, OpenAPI 3.1, made of what stands beside each of them. The types are those of `report`.

use axum::response::Response;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{Components, ContentBuilder, Ref, ResponseBuilder};
use utoipa::{Modify, OpenApi, ToSchema};

use super::problem::{PROBLEM_JSON, Problem};
use super::query::Query;
use super::routes::typed;
use super::{batch, checks, command, conflicts, health, kv, list, metrics, state, transfer, watching};
use crate::report::openapi;

/// A body of any bytes.
#[derive(ToSchema)]
#[schema(value_type = String, format = Binary)]
#[expect(dead_code, reason = "it stands for a type in the description")]
pub(super) struct Raw(Vec<u8>);

/// The name of the one way to be permitted.
const TOKEN: &str = "token";

#[derive(OpenApi)]
#[openapi(
    info(
        title = "p2p-sync",
        description = "The local API of a p2p-sync node: programs on the same machine read, write and follow keys. It listens on a \
            loopback address, which `node.json` in the data directory names; `api.token` beside it has the token.",
        version = "1",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0")
    ),
    paths(
        kv::get, kv::head, kv::put, kv::delete,
        kv::get_named, kv::head_named, kv::put_named, kv::delete_named,
        list::list, batch::write, transfer::export, transfer::import, watching::watch, command::run,
        state::status, state::peers, state::doctor, state::sync,
        conflicts::list, conflicts::resolve,
        checks::begin, checks::look,
        health::alive, health::ready, metrics::metrics, describe,
    ),
    modifiers(&Common),
    security(("token" = []))
)]
struct Description;

/// What all routes have in common.
struct Common;

impl Modify for Common {
    fn modify(&self, description: &mut utoipa::openapi::OpenApi) {
        let components = description.components.get_or_insert_with(Components::new);
        components.add_security_scheme(TOKEN, SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
        for item in description.paths.paths.values_mut() {
            let operations = [
                &mut item.get,
                &mut item.head,
                &mut item.put,
                &mut item.post,
                &mut item.delete,
            ];
            operations.into_iter().flatten().for_each(may_fail);
        }
    }
}

/// Every request may fail, and in the same form.
fn may_fail(operation: &mut Operation) {
    let problem = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name("Problem")))
        .build();
    let failure = ResponseBuilder::new()
        .description("A failure: it says what happened, what became of the data, and what to do next")
        .content(PROBLEM_JSON, problem)
        .build();
    operation
        .responses
        .responses
        .insert("default".to_owned(), failure.into());
}

/// This description.
#[utoipa::path(
    get,
    path = "/v1/openapi.json",
    operation_id = "get_description",
    tag = "node",
    responses((status = 200, description = "The description of all routes, OpenAPI 3.1", body = Object))
)]
pub(super) async fn describe(query: Query) -> Result<Response, Problem> {
    query.end()?;
    Ok(typed("application/json", openapi(&Description::openapi())))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::routes;
    use super::*;

    #[test]
    fn every_route_is_described() {
        let description = Description::openapi();
        let described: BTreeSet<&str> = description.paths.paths.keys().map(String::as_str).collect();
        assert_eq!(described, routes::paths().into_iter().collect());
    }
}
