//! A connection to the database: made with a time-out, used for one statement at a time, each with one too.
//!
//! What it reads has a bound as well: nothing that a database has to say here is long. It keeps nothing and tries nothing twice.

use super::error::CentralError;
use super::figures::CentralFailure;
use super::statements::{Batch, schema, upsert};
use super::tls::Connector;
use crate::config::{Database, DatabasePlace, SslMode};
use crate::pools::connect;
use crate::pools::resolve::Resolver;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_postgres::config::SslMode as Negotiation;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Config, NoTls};

/// How long connecting may take, with TLS and the login.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// How long a statement may take. The server is told to give up a little earlier, so that none goes on that nobody waits for.
const STATEMENT_MAX: Duration = Duration::from_secs(30);
const STATEMENT_MAX_THERE: &str = "SET statement_timeout = 25000";
/// What a server may say in a statement's answer, or at the login.
const READ_BYTES_MAX: u64 = 1024 * 1024;

/// Where the database is and who we are there.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) database: Database,
    pub(super) tls: Option<Connector>,
    pub(super) resolver: Resolver,
    /// What this host is called there.
    pub(super) host: String,
}

/// An open connection.
#[derive(Debug)]
pub(super) struct Client {
    client: tokio_postgres::Client,
    driver: JoinHandle<()>,
    unread: Arc<AtomicU64>,
}

impl Drop for Client {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Client {
    /// Connects, logs in, and sees to it that the tables are there and can be written.
    ///
    /// # Errors
    /// [`CentralError`]
    pub(super) async fn open(target: &Target) -> Result<Client, CentralError> {
        let client = Self::log_in(target).await?;
        let missing = match client.try_tables(target).await {
            Err(error) if error.kind == CentralFailure::Schema => error,
            other => return other.map(|()| client),
        };
        let mut made = Ok(());
        for statement in schema() {
            made = made.and(client.run(&statement).await);
        }
        match (made, client.try_tables(target).await) {
            // Whatever was wrong on the way, another host may have made them at the same time.
            (_, Ok(())) => {
                tracing::info!(database = %target.database, "the tables for share records were made");
                Ok(client)
            }
            (Err(error), Err(_)) if error.kind == CentralFailure::Schema => Err(missing.with(&format!(
                "; and they cannot be made here: {error}; let the owner of the database run config/fleet.sql"
            ))),
            (Err(error), Err(_)) | (Ok(()), Err(error)) => Err(error),
        }
    }

    /// Connects and logs in, and makes nothing.
    ///
    /// # Errors
    /// [`CentralError`]
    pub(super) async fn log_in(target: &Target) -> Result<Client, CentralError> {
        let opening = timeout(CONNECT_MAX, Self::connect(target)).await;
        let client = opening.unwrap_or_else(|_| Err(CentralError::slow("connecting", CONNECT_MAX)))?;
        client.run(STATEMENT_MAX_THERE).await?;
        Ok(client)
    }

    async fn connect(target: &Target) -> Result<Client, CentralError> {
        let database = &target.database;
        let mut config = Config::new();
        config.user(&database.user).dbname(&database.name).application_name("loka-stratum");
        if !database.password.is_empty() {
            config.password(database.password.reveal());
        }
        config.ssl_mode(match (&target.tls, database.tls) {
            (None, _) | (_, SslMode::Disable) => Negotiation::Disable,
            (Some(_), SslMode::Prefer) => Negotiation::Prefer,
            (Some(_), SslMode::Require | SslMode::VerifyFull) => Negotiation::Require,
        });
        match &database.place {
            DatabasePlace::Tcp { host, port } => {
                let resolved = target.resolver.resolve(host, *port).await;
                let resolved = resolved
                    .map_err(|error| CentralError::new(CentralFailure::Unreachable, error.to_string()))?;
                let until = Instant::now() + CONNECT_MAX;
                let raced = connect::race(&resolved.addresses, until).await;
                let (stream, _) = raced.map_err(|problem| CentralError::connecting(&problem))?;
                // A small statement must not wait for the acknowledgement of another.
                let _ = stream.set_nodelay(true);
                Self::greet(&config, stream, target.tls.clone()).await
            }
            DatabasePlace::Socket(path) => {
                let stream = UnixStream::connect(path).await.map_err(|error| {
                    CentralError::new(CentralFailure::Unreachable, format!("{}: {error}", path.display()))
                })?;
                Self::greet(&config, stream, None).await
            }
        }
    }

    async fn greet<S>(config: &Config, stream: S, tls: Option<Connector>) -> Result<Client, CentralError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let unread = Arc::new(AtomicU64::new(READ_BYTES_MAX));
        let stream = Measured { stream, left: Arc::clone(&unread) };
        let (client, driver, encoding) = match tls {
            Some(tls) => {
                let (client, connection) = config.connect_raw(stream, tls).await?;
                let encoding = connection.parameter("server_encoding").map(str::to_owned);
                (client, tokio::spawn(async move { drop(connection.await) }), encoding)
            }
            None => {
                let (client, connection) = config.connect_raw(stream, NoTls).await?;
                let encoding = connection.parameter("server_encoding").map(str::to_owned);
                (client, tokio::spawn(async move { drop(connection.await) }), encoding)
            }
        };
        let client = Client { client, driver, unread };
        match encoding.as_deref() {
            None | Some("UTF8" | "SQL_ASCII") => Ok(client),
            // One name that it has no letters for would hold up all rows.
            Some(other) => {
                let told: String = other.chars().filter(char::is_ascii_graphic).take(32).collect();
                let text = format!("the encoding of the database is {told}: names of workers need UTF8");
                Err(CentralError::new(CentralFailure::Schema, text))
            }
        }
    }

    /// Whether it is known that the connection has ended.
    pub(super) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Puts no rows into each table: that needs the tables, their columns, and the right to write.
    ///
    /// # Errors
    /// [`CentralError`]
    pub(super) async fn try_tables(&self, target: &Target) -> Result<(), CentralError> {
        use super::figures::CentralTable;
        for table in CentralTable::ALL {
            self.put(target, "", Batch::empty(*table)).await?;
        }
        Ok(())
    }

    /// Puts rows there that were read from a file.
    ///
    /// # Errors
    /// [`CentralError`]; it is not known whether they are there.
    pub(super) async fn put(&self, target: &Target, file: &str, batch: Batch) -> Result<(), CentralError> {
        let sql = upsert(batch.table());
        let arrays = batch.arrays();
        let mut parameters: Vec<(&(dyn ToSql + Sync), Type)> =
            vec![(&target.host, Type::TEXT), (&file, Type::TEXT)];
        for (values, kind) in &arrays {
            parameters.push((&**values, kind.clone()));
        }
        self.unread.store(READ_BYTES_MAX, Ordering::Relaxed);
        let done = timeout(STATEMENT_MAX, self.client.execute_typed(&sql, &parameters)).await;
        match done {
            Ok(done) => Ok(done.map(drop)?),
            Err(_) => Err(CentralError::slow("writing", STATEMENT_MAX)),
        }
    }

    async fn run(&self, sql: &str) -> Result<(), CentralError> {
        self.unread.store(READ_BYTES_MAX, Ordering::Relaxed);
        match timeout(STATEMENT_MAX, self.client.batch_execute(sql)).await {
            Ok(done) => Ok(done?),
            Err(_) => Err(CentralError::slow("a statement", STATEMENT_MAX)),
        }
    }
}

/// A stream of which only so much is read.
struct Measured<S> {
    stream: S,
    left: Arc<AtomicU64>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Measured<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        let read = (buf.filled().len() - before) as u64;
        let left = self.left.load(Ordering::Relaxed);
        if read > left {
            return Poll::Ready(Err(io::Error::other("the database says more than it has to say")));
        }
        self.left.store(left - read, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Measured<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
