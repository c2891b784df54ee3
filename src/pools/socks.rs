//! The client's part of SOCKS5 (RFC 1928, and RFC 1929 for user and password), as far as a pool needs it: CONNECT.
//! Names go to the proxy as they are.

use crate::config::{Host, Secret};
use std::io;
use std::net::IpAddr;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

const VERSION: u8 = 5;
const NO_LOGIN: u8 = 0;
const LOGIN: u8 = 2;
const LOGIN_VERSION: u8 = 1;
const CONNECT: u8 = 1;
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;

/// Why the proxy did not let us through.
#[derive(Debug, Error)]
pub(super) enum SocksError {
    /// The connection to it broke.
    #[error("the connection to it broke: {0}")]
    Broken(#[from] io::Error),
    /// It is something else.
    #[error("it does not speak SOCKS5")]
    NotSocks,
    /// It wants a login.
    #[error("it wants a user name and password")]
    LoginWanted,
    /// It wants another kind of login than the one there is.
    #[error("it takes neither a user name and password nor nothing at all")]
    OtherLogin,
    /// It knows no such login.
    #[error("it refuses the user name and password")]
    LoginRefused,
    /// A name, user or password is empty or longer than 255 bytes.
    #[error("{0} must have 1 to 255 bytes")]
    Length(&'static str),
    /// It cannot or will not reach the pool.
    #[error("{0}")]
    Refused(&'static str),
}

/// Asks the proxy at the other end of `stream` for a connection to the pool. Afterwards the stream is the pool's.
pub(super) async fn ask<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    host: &Host,
    port: u16,
    credentials: Option<&(String, Secret)>,
) -> Result<(), SocksError> {
    // With credentials the proxy may still let everybody in.
    let greeting: &[u8] =
        if credentials.is_some() { &[VERSION, 2, NO_LOGIN, LOGIN] } else { &[VERSION, 1, NO_LOGIN] };
    stream.write_all(greeting).await?;
    let mut chosen = [0_u8; 2];
    stream.read_exact(&mut chosen).await?;
    match (chosen, credentials) {
        ([VERSION, NO_LOGIN], _) => {}
        ([VERSION, LOGIN], Some((user, password))) => login(stream, user, password.reveal()).await?,
        ([VERSION, _], None) => return Err(SocksError::LoginWanted),
        ([VERSION, _], Some(_)) => return Err(SocksError::OtherLogin),
        ([_, _], _) => return Err(SocksError::NotSocks),
    }
    let mut request = vec![VERSION, CONNECT, 0];
    match host {
        Host::Ip(IpAddr::V4(ip)) => {
            request.push(IPV4);
            request.extend_from_slice(&ip.octets());
        }
        Host::Ip(IpAddr::V6(ip)) => {
            request.push(IPV6);
            request.extend_from_slice(&ip.octets());
        }
        Host::Name(name) => {
            request.push(NAME);
            request.extend_from_slice(&short("the pool's host", name)?);
        }
    }
    request.extend_from_slice(&port.to_be_bytes());
    stream.write_all(&request).await?;
    answer(stream).await
}

async fn login<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    user: &str,
    password: &str,
) -> Result<(), SocksError> {
    let mut request = vec![LOGIN_VERSION];
    request.extend_from_slice(&short("the proxy's user name", user)?);
    request.extend_from_slice(&short("the proxy's password", password)?);
    stream.write_all(&request).await?;
    let mut answer = [0_u8; 2];
    stream.read_exact(&mut answer).await?;
    if answer[1] == 0 { Ok(()) } else { Err(SocksError::LoginRefused) }
}

/// Reads the whole answer: what comes after it is the pool's.
async fn answer<S: AsyncRead + Unpin>(stream: &mut S) -> Result<(), SocksError> {
    let mut head = [0_u8; 4];
    stream.read_exact(&mut head).await?;
    let [version, code, _, kind] = head;
    if version != VERSION {
        return Err(SocksError::NotSocks);
    }
    if code != 0 {
        return Err(SocksError::Refused(refusal(code)));
    }
    let address = match kind {
        IPV4 => 4,
        IPV6 => 16,
        NAME => usize::from(stream.read_u8().await?),
        _ => return Err(SocksError::NotSocks),
    };
    let mut bound = [0_u8; 255 + 2];
    stream.read_exact(&mut bound[..address + 2]).await?;
    Ok(())
}

fn refusal(code: u8) -> &'static str {
    match code {
        1 => "it failed, without saying why",
        2 => "its rules do not allow the pool's host or port",
        3 => "it cannot reach the pool's network",
        4 => "it cannot reach the pool's host, or does not know its name",
        5 => "the pool's port refused its connection",
        6 => "its connection to the pool took too long",
        7 => "it does not make connections for others",
        8 => "it does not take this kind of address",
        _ => "it refused, for a reason that SOCKS5 does not know",
    }
}

fn short(what: &'static str, text: &str) -> Result<Vec<u8>, SocksError> {
    let length = u8::try_from(text.len()).ok().filter(|length| *length > 0);
    let mut bytes = vec![length.ok_or(SocksError::Length(what))?];
    bytes.extend_from_slice(text.as_bytes());
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::duplex;

    /// Talks to a proxy that says `script` whatever it is asked; gives what it was asked, and what came of it.
    fn talk(
        host: &Host,
        credentials: Option<(&str, &str)>,
        script: &[u8],
    ) -> (Vec<u8>, Result<(), SocksError>) {
        let credentials = credentials.map(|(user, password)| (user.to_owned(), Secret::new(password)));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (mut ours, mut theirs) = duplex(4096);
            theirs.write_all(script).await.unwrap();
            theirs.shutdown().await.unwrap();
            let result = ask(&mut ours, host, 3333, credentials.as_ref()).await;
            drop(ours);
            let mut asked = Vec::new();
            theirs.read_to_end(&mut asked).await.unwrap();
            (asked, result)
        })
    }

    #[test]
    fn a_name_goes_to_the_proxy_as_it_is() {
        let host = Host::Name("pool.example".to_owned());
        let (asked, result) = talk(&host, None, b"\x05\x00\x05\x00\x00\x01\x7f\x00\x00\x01\x10\x92");
        result.unwrap();
        assert_eq!(asked, b"\x05\x01\x00\x05\x01\x00\x03\x0cpool.example\x0d\x05");
        let (asked, result) =
            talk(&host, Some(("u", "secret")), b"\x05\x02\x01\x00\x05\x00\x00\x03\x01x\x00\x00");
        result.unwrap();
        assert!(asked.starts_with(b"\x05\x02\x00\x02\x01\x01u\x06secret\x05\x01\x00\x03"), "{asked:?}");
        let (asked, result) = talk(
            &Host::Ip("::1".parse().unwrap()),
            None,
            b"\x05\x00\x05\x00\x00\x04................\x00\x00",
        );
        result.unwrap();
        assert_eq!(&asked[3..7], b"\x05\x01\x00\x04");
    }

    #[test]
    fn what_a_proxy_refuses_is_told_apart() {
        let host = Host::Name("pool.example".to_owned());
        let told = |credentials, script: &[u8]| talk(&host, credentials, script).1.unwrap_err().to_string();
        assert!(told(None, b"HTTP/1.1 400").contains("not speak SOCKS5"));
        assert!(told(None, b"\x05\xff").contains("wants a user name"));
        assert!(told(None, b"\x05\x02").contains("wants a user name"));
        assert!(told(Some(("u", "p")), b"\x05\xff").contains("neither a user name"));
        assert!(told(Some(("u", "p")), b"\x05\x02\x01\x01").contains("refuses the user name"));
        assert!(told(Some(("", "p")), b"\x05\x02\x01\x01").contains("1 to 255"));
        assert!(told(None, b"\x05\x00\x05\x05\x00\x01").contains("refused its connection"));
        assert!(told(None, b"\x05\x00\x05\x00\x00\x09").contains("not speak SOCKS5"));
        assert!(told(None, b"\x05").contains("broke"));
    }
}
