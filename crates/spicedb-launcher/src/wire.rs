//! gRPC over HTTP/2, as much of it as passing bytes through needs.

use std::path::Path;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Uri};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::UnixStream;

/// A frame is a compression flag, the length of the message in four bytes, and the message.
const FRAME_HEAD: usize = 5;

/// gRPC's names of the status codes, each at its number.
const CODES: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];

/// A gRPC status other than OK.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    code: usize,
    message: String,
}

impl Failure {
    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::named("Internal", message)
    }

    pub(crate) fn unauthenticated() -> Self {
        Self::named("Unauthenticated", "a bearer token is needed")
    }

    /// Reads `rpc error: code = NotFound desc = …`, as Go prints a status.
    pub(crate) fn from_text(text: &str) -> Self {
        let status = text.split_once("code = ").and_then(|(_, rest)| rest.split_once(" desc = "));
        match status {
            Some((name, message)) if CODES.contains(&name) => Self::named(name, message),
            _ => Self::named("Unknown", text),
        }
    }

    fn named(name: &str, message: impl Into<String>) -> Self {
        let code = CODES.iter().position(|known| *known == name).unwrap_or(2);
        Self { code, message: message.into() }
    }

    pub(crate) fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.headers_mut() = self.headers();
        response
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = grpc_headers();
        headers.insert("grpc-status", HeaderValue::from(self.code));
        if let Ok(message) = HeaderValue::from_str(&percent_encoded(&self.message)) {
            headers.insert("grpc-message", message);
        }
        headers
    }
}

fn grpc_headers() -> HeaderMap {
    HeaderMap::from_iter([(http::header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"))])
}

fn percent_encoded(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b' '..=b'~' if byte != b'%' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}

/// The one message of a unary request.
pub(crate) async fn unary_request(body: Body) -> Result<Bytes, Failure> {
    let frame = body.collect().await.map_err(|error| Failure::internal(error.to_string()))?.to_bytes();
    let length = frame.get(1..FRAME_HEAD).and_then(|length| length.try_into().ok()).map(u32::from_be_bytes);
    match length.and_then(|length| usize::try_from(length).ok()) {
        Some(length) if frame[0] == 0 && frame.len() == FRAME_HEAD + length => Ok(frame.slice(FRAME_HEAD..)),
        _ => Err(Failure::named("Unimplemented", "one message without compression is expected")),
    }
}

/// The response of a unary call that went well.
pub(crate) fn unary_response(message: &[u8]) -> Response {
    let mut frame = BytesMut::with_capacity(FRAME_HEAD + message.len());
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).expect("the library counts lengths in 31 bits"));
    frame.put_slice(message);
    let trailers = HeaderMap::from_iter([(http::HeaderName::from_static("grpc-status"), HeaderValue::from(0))]);
    let body = Full::new(frame.freeze()).with_trailers(async { Some(Ok(trailers)) });
    let mut response = Response::new(Body::new(body));
    *response.headers_mut() = grpc_headers();
    response
}

/// Passes `request` to the socket and its answer back as it comes.
pub(crate) async fn relay(socket: &Path, mut request: Request) -> Result<Response, Failure> {
    let unavailable = |error: &dyn std::fmt::Display| Failure::named("Unavailable", error.to_string());
    let stream = UnixStream::connect(socket).await.map_err(|error| unavailable(&error))?;
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.map_err(|error| unavailable(&error))?;
    // It ends with the call: nobody else sends on this connection.
    tokio::spawn(connection);
    let uri = format!("http://localhost{}", request.uri().path());
    *request.uri_mut() = Uri::try_from(uri).map_err(|error| Failure::internal(error.to_string()))?;
    let response = sender.send_request(request).await.map_err(|error| unavailable(&error))?;
    Ok(response.map(Body::new))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_in_an_error_text_is_read_back() {
        let failure = Failure::from_text("rpc error: code = FailedPrecondition desc = object definition `x` not found");

        assert_eq!((failure.code, failure.message.as_str()), (9, "object definition `x` not found"));
        assert_eq!(Failure::from_text("broken").code, 2);
    }

    #[tokio::test]
    async fn a_request_is_one_whole_message() {
        let read = |frame: &'static [u8]| unary_request(Body::from(frame));

        assert_eq!(read(&[0, 0, 0, 0, 2, 7, 8]).await, Ok(Bytes::from_static(&[7, 8])));
        for wrong in [&[0, 0, 0, 0, 3, 7, 8][..], &[1, 0, 0, 0, 2, 7, 8], &[0, 0]] {
            assert_eq!(read(wrong).await.map_err(|failure| failure.code), Err(12), "{wrong:?}");
        }
    }

    #[test]
    fn messages_travel_percent_encoded() {
        assert_eq!(percent_encoded("50 % of `ä`\n"), "50 %25 of `%C3%A4`%0A");
    }
}
