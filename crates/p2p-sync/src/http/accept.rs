//! Connections: accepting them, how many there may be, and the limits of HTTP on each.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::{Body as _, Incoming};
use hyper::header::EXPECT;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::body::{Held, drain};
use super::guard::{self, OPEN_PATH};
use super::places::Place;
use super::routes::{self, Routes};
use super::{Api, ApiError};

/// Connections at once: a thousand watchers, and room for everybody else. Fewer where the process may open fewer files.
const CONNECTIONS_MAX: usize = 1_280;
/// How long the head of a request may take, and how long a connection may wait for the next one.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// The head of a request in bytes, and what is buffered of a response that is not read.
const BUFFER_BYTES: usize = 16 * 1024;
/// What the operating system may buffer of a response that is not read.
const SEND_BUFFER_BYTES: usize = 128 * 1024;
/// How long requests may go on when the API stops.
const GRACE: Duration = Duration::from_millis(500);
/// How long the body of a request that is not permitted is read, to be forgotten.
const DRAIN_TIME: Duration = Duration::from_millis(200);
/// After a failure to accept, such as too many open files.
const PAUSE: Duration = Duration::from_millis(50);

/// Listens on an address.
///
/// # Errors
/// If it is taken or does not exist.
pub(super) fn listen(address: SocketAddr) -> Result<TcpListener, ApiError> {
    let bound = std::net::TcpListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener)
    });
    bound.map_err(|source| ApiError::Address { address, source })
}

/// Serves connections until the API stops.
pub(super) async fn run(listener: TcpListener, api: Arc<Api>) {
    let routes = routes::all(Arc::clone(&api));
    let mut stopping = api.stopping.clone();
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopping.wait_for(|stop| *stop) => break,
        };
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((stream, from)) => {
                if let Some(place) = api.places.take() {
                    connections.spawn(serve(stream, from, place, Arc::clone(&api), routes.clone()));
                } else {
                    tracing::debug!("all {} connections to the local API are busy", api.places.count());
                }
            }
            Err(error) => {
                tracing::debug!("cannot accept a connection to the local API: {error}");
                sleep(PAUSE).await;
            }
        }
    }
    drop(listener);
    let finish = async { while connections.join_next().await.is_some() {} };
    if timeout(GRACE, finish).await.is_err() {
        connections.shutdown().await;
    }
}

async fn serve(stream: TcpStream, from: SocketAddr, place: Place, api: Arc<Api>, routes: Routes) {
    let _ = stream.set_nodelay(true);
    let _ = socket2::SockRef::from(&stream).set_send_buffer_size(SEND_BUFFER_BYTES);
    let place = Arc::new(place);
    let mut stopping = api.stopping.clone();
    let service = service_fn(|request: Request<Incoming>| {
        let (api, routes, place) = (Arc::clone(&api), routes.clone(), Arc::clone(&place));
        async move { Ok::<_, Infallible>(answer(request, from, &place, &api, &routes).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(BUFFER_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    tokio::select! {
        // A client that breaks off or does not speak HTTP is no failure of ours.
        _ = connection.as_mut() => return,
        () = place.closed() => return,
        _ = stopping.wait_for(|stop| *stop) => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

async fn answer(
    request: Request<Incoming>,
    from: SocketAddr,
    place: &Arc<Place>,
    api: &Api,
    routes: &Routes,
) -> Response<Held> {
    let answer = match guard::check(api, from.ip(), &request) {
        Ok(()) => {
            // What anybody may ask keeps nobody else out, not even if the answer is never read.
            let busy = (request.uri().path() != OPEN_PATH).then(|| place.busy());
            routes.answer(request).await.map(|body| Held::new(body, busy))
        }
        Err(problem) => {
            if !request.headers().contains_key(EXPECT) && !request.body().is_end_stream() {
                drain(request.into_body(), DRAIN_TIME).await;
            }
            problem.response().map(|body| Held::new(body, None))
        }
    };
    api.answers.count(answer.status());
    answer
}

/// How many connections there may be: at most half of the files that the process may open.
pub(super) fn connections_max() -> usize {
    files_max().map_or(CONNECTIONS_MAX, |files| CONNECTIONS_MAX.min(files / 2))
}

#[cfg(unix)]
fn files_max() -> Option<usize> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current?;
    usize::try_from(limit).ok()
}

#[cfg(not(unix))]
fn files_max() -> Option<usize> {
    None
}
