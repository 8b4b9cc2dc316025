//! A plain HTTP request to a cloud's metadata service (link-local, no proxy, no TLS), sent only if the
//! configuration allows it.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use xshield_enforce::resident::host::machine::cloud::{MOST_BYTES, Method, Request};

/// Its address in every cloud.
const SERVICE: ([u8; 4], u16) = ([169, 254, 169, 254], 80);
/// The service is on the same machine, or does not exist.
const TIMEOUT: Duration = Duration::from_secs(1);
/// The longest header of an answer, in bytes.
const HEAD: u64 = 16 << 10;

/// Sends a request. `None` unless the status is 200.
pub(crate) fn send(request: &Request) -> Option<Vec<u8>> {
    exchange(request, SocketAddr::from(SERVICE))
}

fn exchange(request: &Request, service: SocketAddr) -> Option<Vec<u8>> {
    let path = request.url.strip_prefix("http://169.254.169.254/")?;
    let method = match request.method {
        Method::Get => "GET",
        Method::Put => "PUT",
    };
    let (name, value) = &request.header;
    let mut stream = TcpStream::connect_timeout(&service, TIMEOUT).ok()?;
    stream.set_read_timeout(Some(TIMEOUT)).ok()?;
    stream.set_write_timeout(Some(TIMEOUT)).ok()?;
    // HTTP/1.0 has neither chunks nor persistent connections.
    let head = format!(
        "{method} /{path} HTTP/1.0\r\nHost: 169.254.169.254\r\n{name}: {value}\r\n\
         Content-Length: 0\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).ok()?;
    let mut answer = Vec::new();
    stream.take(HEAD + MOST_BYTES as u64).read_to_end(&mut answer).ok()?;
    body(&answer)
}

fn body(answer: &[u8]) -> Option<Vec<u8>> {
    let status = answer.strip_prefix(b"HTTP/1.")?.get(1..5)?;
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    (status == b" 200").then(|| answer[end + 4..].to_vec())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn only_the_body_of_a_200_is_returned() {
        for (answer, expected) in [
            (&b"HTTP/1.0 200 OK\r\nA: b\r\n\r\nbody"[..], Some(&b"body"[..])),
            (b"HTTP/1.1 200 OK\r\n\r\n", Some(b"")),
            (b"HTTP/1.1 404 No\r\n\r\nbody", None),
            (b"HTTP/1.1 2000 No\r\n", None),
            (b"HTTP/1.1 200 OK\r\n", None),
            (b"", None),
        ] {
            assert_eq!(body(answer).as_deref(), expected);
        }
    }

    #[test]
    fn requests_have_the_headers_that_metadata_services_need() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let service = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut received = vec![0; 200];
            let length = stream.read(&mut received).unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\ntoken").unwrap();
            String::from_utf8_lossy(&received[..length]).into_owned()
        });
        let request = Request {
            method: Method::Put,
            url: "http://169.254.169.254/latest/api/token".to_owned(),
            header: ("X-ttl", "60".to_owned()),
        };
        assert_eq!(exchange(&request, address).as_deref(), Some(&b"token"[..]));
        let received = service.join().unwrap();
        assert!(received.starts_with("PUT /latest/api/token HTTP/1.0\r\n"), "{received}");
        assert!(received.contains("X-ttl: 60\r\n"), "{received}");
    }
}
