//! Bodies: reading those of requests within limits of size, time and memory, and knowing when those of responses end.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, EXPECT, TRANSFER_ENCODING};
use axum::http::{HeaderMap, StatusCode};
use http_body_util::BodyExt;
use hyper::body::{Frame, SizeHint};
use serde::de::DeserializeOwned;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::Api;
use super::bodies::Incoming;
use super::places::Busy;
use super::problem::Problem;
use crate::report::{Class, read as read_json};

/// How long it may take until the whole body is here.
const TIME: Duration = Duration::from_secs(10);

/// How long the rest of a body that is too large is read.
const DRAIN_TIME: Duration = Duration::from_secs(1);

/// The body of a request.
pub(super) struct Content {
    /// All of it.
    pub(super) bytes: Bytes,
    /// The memory that it takes is accounted for until this is dropped.
    pub(super) permit: Option<OwnedSemaphorePermit>,
}

/// Reads the body of a request, of at most so many bytes.
///
/// # Errors
/// If it is larger, compressed, slow, or breaks off.
pub(super) async fn read(api: &Api, request: Request, bytes_max: usize) -> Result<Content, Problem> {
    check_whole_and_plain(request.headers())?;
    let told = told_length(request.headers());
    let waits = request.headers().contains_key(EXPECT);
    let mut body = request.into_body();
    if told.is_some_and(|told| told > bytes_max) {
        if !waits {
            drain(body, DRAIN_TIME).await;
        }
        return Err(too_large(bytes_max));
    }
    let mut incoming = api.bodies.begin();
    match timeout(TIME, collect(&mut body, told, bytes_max, &mut incoming)).await {
        Err(_) => Err(too_slow()),
        Ok(Ok(bytes)) => Ok(Content {
            bytes,
            permit: incoming.complete(),
        }),
        Ok(Err(Broken::TooLarge)) => {
            drop(incoming);
            drain(body, DRAIN_TIME).await;
            Err(too_large(bytes_max))
        }
        Ok(Err(Broken::Off)) => Err(Problem::usage("The body broke off. Nothing was changed.")),
        Ok(Err(Broken::MadeWay)) => Err(stalled()),
    }
}

/// Why a body does not come to its end.
enum Broken {
    Off,
    TooLarge,
    /// Others needed its memory.
    MadeWay,
}

async fn collect(
    body: &mut Body,
    told: Option<usize>,
    bytes_max: usize,
    incoming: &mut Incoming,
) -> Result<Bytes, Broken> {
    let mut bytes = Vec::new();
    if let Some(told) = told {
        // What was told is taken at once, so that the parts of many bodies do not wait for each other.
        incoming.takes(told).await;
        bytes.reserve(told);
    }
    loop {
        let frame = tokio::select! {
            frame = body.frame() => frame,
            () = incoming.made_way() => return Err(Broken::MadeWay),
        };
        let Some(frame) = frame else {
            return Ok(bytes.into());
        };
        let Ok(data) = frame.map_err(|_| Broken::Off)?.into_data() else {
            continue;
        };
        let length = bytes.len() + data.len();
        if length > bytes_max {
            return Err(Broken::TooLarge);
        }
        incoming.takes(length).await;
        bytes.extend_from_slice(&data);
    }
}

/// What is stored is the body as it comes, so it must be neither compressed nor a part of something.
fn check_whole_and_plain(headers: &HeaderMap) -> Result<(), Problem> {
    let is_other = |name, plain: &[u8]| {
        let mut values = headers.get_all(name).iter();
        values.any(|value| !value.as_bytes().eq_ignore_ascii_case(plain))
    };
    if is_other(CONTENT_ENCODING, b"identity") {
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Class::Usage,
            "Send the body without a Content-Encoding. Nothing was changed.",
        ));
    }
    let encodings = headers.get_all(TRANSFER_ENCODING).iter().count();
    if is_other(TRANSFER_ENCODING, b"chunked") || encodings > 1 {
        return Err(Problem::new(
            StatusCode::NOT_IMPLEMENTED,
            Class::Usage,
            "Send the body with no other Transfer-Encoding than one `chunked`. Nothing was changed.",
        ));
    }
    if headers.contains_key(CONTENT_RANGE) {
        return Err(Problem::usage(
            "A part of a value cannot be written. Send all of it, without a Content-Range. Nothing was changed.",
        ));
    }
    Ok(())
}

/// Reads a body to its end and forgets it, but not for longer than this: a client that is still sending when the connection is closed
/// may never see the answer.
pub(super) async fn drain<B: hyper::body::Body + Unpin>(mut body: B, time: Duration) {
    let rest = async { while let Some(Ok(_)) = body.frame().await {} };
    let _ = timeout(time, rest).await;
}

/// Reads a body that is the JSON of a `T`.
///
/// # Errors
/// As for [`read`], and if it is something else.
pub(super) async fn json<T: DeserializeOwned>(
    api: &Api,
    request: Request,
    bytes_max: usize,
) -> Result<(T, Option<OwnedSemaphorePermit>), Problem> {
    if !is_json(request.headers()) {
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Class::Usage,
            "Send the body with `Content-Type: application/json`. Nothing was changed.",
        ));
    }
    let Content { bytes, permit } = read(api, request, bytes_max).await?;
    let text = std::str::from_utf8(&bytes)
        .map_err(|_| Problem::usage("The body is not UTF-8, and so not JSON. Nothing was changed."))?;
    let value = read_json(text)
        .map_err(|error| Problem::usage(format!("Cannot use the body: {error}. Nothing was changed.")))?;
    Ok((value, permit))
}

fn told_length(headers: &HeaderMap) -> Option<usize> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let kind = kind.and_then(|kind| kind.split(';').next());
    kind.is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

fn too_slow() -> Problem {
    Problem::new(
        StatusCode::REQUEST_TIMEOUT,
        Class::TimedOut,
        format!(
            "The body was not complete within {} s. Nothing was changed.",
            TIME.as_secs()
        ),
    )
}

fn stalled() -> Problem {
    Problem::new(
        StatusCode::REQUEST_TIMEOUT,
        Class::TimedOut,
        "Nothing more of the body came for a while, and other requests needed its memory. Nothing was changed.",
    )
}

fn too_large(bytes_max: usize) -> Problem {
    Problem::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        Class::Invalid,
        format!("The body is larger than {bytes_max} bytes. Nothing was changed."),
    )
}

/// The body of a response, with the proof that its connection is busy until it ends.
pub(super) struct Held {
    body: Body,
    busy: Option<Busy>,
}

impl Held {
    pub(super) fn new(body: Body, busy: Option<Busy>) -> Self {
        Self { body, busy }
    }
}

impl hyper::body::Body for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let held = self.get_mut();
        let polled = Pin::new(&mut held.body).poll_frame(context);
        if matches!(polled, Poll::Ready(None)) {
            held.busy = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
