//! Failures as responses: `application/problem+json`, in words that say what became of the data.

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, HeaderName};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use crate::command::CommandError;
use crate::node::{NodeError, StoreErrorKind};
use crate::report::{self, Class, line};

/// The type of a failure's body.
pub(super) const PROBLEM_JSON: &str = "application/problem+json";

/// A request that failed.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    class: Class,
    detail: String,
    header: Option<(HeaderName, &'static str)>,
}

impl Problem {
    /// With this status. The detail is for people; what it quotes is made safe to show.
    pub(super) fn new(status: StatusCode, class: Class, detail: impl AsRef<str>) -> Self {
        Self {
            status,
            class,
            // That makes it printable.
            detail: CommandError::new(class, detail).to_string(),
            header: None,
        }
    }

    /// The same, with another header.
    pub(super) fn with(mut self, name: HeaderName, value: &'static str) -> Self {
        self.header = Some((name, value));
        self
    }

    /// The request is not one that there is.
    pub(super) fn usage(detail: impl AsRef<str>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, Class::Usage, detail)
    }

    /// A key, a value or a timestamp is none.
    pub(super) fn invalid(detail: impl AsRef<str>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, Class::Invalid, detail)
    }

    /// There is no such thing.
    pub(super) fn not_found(detail: impl AsRef<str>) -> Self {
        Self::new(StatusCode::NOT_FOUND, Class::NotFound, detail)
    }

    /// A precondition does not hold.
    pub(super) fn precondition(detail: impl AsRef<str>) -> Self {
        Self::new(StatusCode::PRECONDITION_FAILED, Class::Conflict, detail)
    }

    /// The same, of one operation of a batch.
    pub(super) fn of_operation(mut self, index: usize) -> Self {
        let end = if self.detail.ends_with('.') { "" } else { "." };
        self.detail = format!(
            "Operation {index}, counted from 0: {}{end} None of the batch was written.",
            self.detail
        );
        self
    }

    /// As a response.
    pub(super) fn response(self) -> Response {
        let body = line(&report::Problem {
            kind: "about:blank".to_owned(),
            title: self.status.canonical_reason().unwrap_or_default().to_owned(),
            status: self.status.as_u16(),
            detail: self.detail,
            code: self.class,
            name: self.class.name().to_owned(),
        });
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.status;
        if let Some((name, value)) = self.header {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        let kind = HeaderValue::from_static(PROBLEM_JSON);
        response.headers_mut().insert(CONTENT_TYPE, kind);
        super::routes::protect(response.headers_mut());
        response
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        self.response()
    }
}

impl From<NodeError> for Problem {
    fn from(error: NodeError) -> Self {
        let status = status(&error);
        let error = CommandError::from(error);
        Self::new(status, error.class, error.to_string())
    }
}

fn status(error: &NodeError) -> StatusCode {
    match error {
        NodeError::Store(error) | NodeError::OutOfOrder(error) if error.kind() == StoreErrorKind::Full => {
            StatusCode::INSUFFICIENT_STORAGE
        }
        NodeError::NoRoom => StatusCode::INSUFFICIENT_STORAGE,
        NodeError::OfWrites { error, .. } => status(error),
        NodeError::Changed { .. } => StatusCode::PRECONDITION_FAILED,
        NodeError::Crowded | NodeError::Stopped => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl From<CommandError> for Problem {
    fn from(error: CommandError) -> Self {
        let status = match error.class {
            Class::Usage | Class::Invalid => StatusCode::BAD_REQUEST,
            Class::NotFound => StatusCode::NOT_FOUND,
            Class::Conflict | Class::InUse => StatusCode::CONFLICT,
            Class::NotPermitted => StatusCode::FORBIDDEN,
            Class::TimedOut => StatusCode::GATEWAY_TIMEOUT,
            Class::Failed | Class::NotReachable | Class::Storage => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, error.class, error.to_string())
    }
}
