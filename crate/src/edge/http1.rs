//! Plain HTTP/1.1 for people and tools: metrics, health, console. Bounded in connections, headers, bodies and time.
//!
//! Invariant: a slow or hostile client of this port costs one of few connections for a bounded time, and no gRPC call.

use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{HeaderValue, CONTENT_TYPE};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use super::network::Network;

const BODY_BYTES_MAX: usize = 1 << 20;
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
const CALLS_MAX: usize = 128;
pub const CONNECTIONS_MAX: usize = 128;

fn plain(code: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = code;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

/// Forgets the request when its connection is dropped.
struct HttpGuard<'a>(&'a Network, u64);

impl Drop for HttpGuard<'_> {
    fn drop(&mut self) {
        self.0.forget_http(self.1);
    }
}

async fn serve_request(network: Rc<Network>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = match tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, BODY_BYTES_MAX).collect()).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(_)) => return Ok(plain(StatusCode::PAYLOAD_TOO_LARGE, "request body is too large or broken\n")),
        Err(_) => return Ok(plain(StatusCode::REQUEST_TIMEOUT, "request body took too long\n")),
    };
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let Some((id, reply)) = network.open_http(head.method.as_str().to_owned(), path, body, CALLS_MAX) else {
        return Ok(plain(StatusCode::SERVICE_UNAVAILABLE, "too many requests wait\n"));
    };
    let _guard = HttpGuard(&network, id);
    let Ok(reply) = reply.await else {
        return Ok(plain(StatusCode::SERVICE_UNAVAILABLE, "the server is closing\n"));
    };
    let mut response = Response::new(Full::from(reply.body));
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if let Ok(value) = HeaderValue::try_from(reply.content_type) {
        response.headers_mut().insert(CONTENT_TYPE, value);
    }
    Ok(response)
}

pub async fn serve_connection<IO: AsyncRead + AsyncWrite + Unpin + 'static>(network: Rc<Network>, io: IO) {
    let mut stopping = network.stopping.subscribe();
    let service = hyper::service::service_fn(move |request| serve_request(network.clone(), request));
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(64 << 10)
        .serve_connection(TokioIo::new(io), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        biased;
        _ = connection.as_mut() => return,
        _ = stopping.wait_for(|stopping| *stopping) => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}
