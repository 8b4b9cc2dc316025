//! Syslog over TLS (RFC 5425), TCP (RFC 6587, octet counting) and UDP (RFC 5426).

use std::net::SocketAddr;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::UdpSocket;
use tokio_rustls::TlsConnector;
use xshield_model::channel::{SyslogSettings, SyslogTransport};

use crate::destination::Destination;
use crate::outgoing::{SendError, reach, tls};

/// Most receivers close the connection after the end is signaled; they need not.
const CLOSES_WITHIN: Duration = Duration::from_secs(5);

/// Sends messages; syslog has no answer.
pub(crate) async fn send(
    settings: &SyslogSettings,
    messages: &[String],
) -> Result<String, SendError> {
    let reach = reach(settings.allow_private);
    let destination = Destination { host: &settings.host, port: settings.port(), reach };
    let io = |error: std::io::Error| SendError::of("send syslog messages", &error);
    match settings.transport {
        SyslogTransport::Udp => {
            let socket = bind_for(&destination.addresses().await?).await.map_err(io)?;
            for message in messages {
                socket.send(message.as_bytes()).await.map_err(io)?;
            }
        }
        SyslogTransport::Tcp => {
            let stream = destination.connect().await?;
            write(stream, messages).await.map_err(io)?;
        }
        SyslogTransport::Tls => {
            let stream = destination.connect().await?;
            let name = ServerName::try_from(settings.host.clone())
                .map_err(|error| SendError::of("name the syslog receiver", &error))?;
            let connector = TlsConnector::from(tls(settings.ca.as_deref())?);
            let stream = connector.connect(name, stream).await;
            write(stream.map_err(io)?, messages).await.map_err(io)?;
        }
    }
    Ok(format!("{} messages sent; syslog receivers do not answer", messages.len()))
}

async fn bind_for(addresses: &[SocketAddr]) -> std::io::Result<UdpSocket> {
    let mut last = std::io::Error::other("the name has no address");
    for address in addresses {
        let local = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(local).await?;
        match socket.connect(address).await {
            Ok(()) => return Ok(socket),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Writes each message with its length, signals the end, and waits for the receiver to close: what it refused
/// by then comes back as an error instead of being lost unnoticed.
async fn write(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    messages: &[String],
) -> std::io::Result<()> {
    for message in messages {
        stream.write_all(format!("{} ", message.len()).as_bytes()).await?;
        stream.write_all(message.as_bytes()).await?;
    }
    stream.flush().await?;
    stream.shutdown().await?;
    let mut ignored = [0; 256];
    let closed = async {
        loop {
            match stream.read(&mut ignored).await {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                // Closed without TLS's own end: the messages had arrived.
                Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    };
    tokio::time::timeout(CLOSES_WITHIN, closed).await.unwrap_or(Ok(()))
}
