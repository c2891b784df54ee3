//! A proxy with a configuration file of its own, and what stands between it and its miners. It knows nothing of pools but
//! what is written into the file.
#![allow(dead_code, reason = "each test program uses a part of it")]

use crate::support::{Proxy, finish, free_port, http, program, until};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde_json::Value;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use tempfile::TempDir;
use tokio::io::{AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_rustls::TlsConnector;

/// A configuration that is being written, in a folder that goes with it.
pub(crate) struct Farm {
    folder: TempDir,
    /// Where miners connect, and where they do so with TLS if the test says so.
    pub(crate) address: SocketAddr,
    pub(crate) tls_address: SocketAddr,
    metrics: SocketAddr,
    server: String,
    sections: String,
    performance: String,
}

impl Farm {
    /// One shard, so that the shares of several pools are exact.
    pub(crate) fn new() -> Farm {
        let here = || SocketAddr::from(([127, 0, 0, 1], free_port()));
        Farm {
            folder: tempfile::tempdir().unwrap(),
            address: here(),
            tls_address: here(),
            metrics: here(),
            server: String::new(),
            sections: String::new(),
            performance: "worker_threads = 1\n".to_owned(),
        }
    }

    /// Writes a file, in one step as programs do that renew certificates, and gives its path.
    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        let new = self.folder.path().join(format!("{name}.new"));
        std::fs::write(&new, text).unwrap();
        std::fs::rename(&new, &path).unwrap();
        path
    }

    /// Adds lines to `[server]`.
    pub(crate) fn server(&mut self, lines: &str) -> &mut Farm {
        let _ = writeln!(self.server, "{lines}");
        self
    }

    /// Adds lines to `[performance]`.
    pub(crate) fn performance(&mut self, lines: &str) -> &mut Farm {
        let _ = writeln!(self.performance, "{lines}");
        self
    }

    /// Adds a section with its head.
    pub(crate) fn section(&mut self, text: &str) -> &mut Farm {
        let _ = writeln!(self.sections, "{text}");
        self
    }

    /// Adds a pool; `host` as it stands in the file.
    pub(crate) fn pool(&mut self, name: &str, host: &str, lines: &str) -> &mut Farm {
        self.section(&format!("[[pool]]\nname = \"{name}\"\nhost = \"{host}\"\n{lines}\n"))
    }

    /// Adds a certificate for miners, at the TLS port.
    pub(crate) fn miner_tls(&mut self, certificate: &Path, key: &Path, lines: &str) -> &mut Farm {
        let port = self.tls_address.port();
        self.section(&format!(
            "[server.tls]\ncert_file = {certificate:?}\nkey_file = {key:?}\nport = {port}\n{lines}\n"
        ))
    }

    fn config(&self) -> PathBuf {
        let log = self.folder.path().join("proxy.log");
        let (server, sections, performance) = (&self.server, &self.sections, &self.performance);
        let (port, metrics) = (self.address.port(), self.metrics.port());
        self.file(
            "config.toml",
            &format!(
                "[server]\naddress = \"127.0.0.1\"\nport = {port}\n{server}\n{sections}\n\
                 [metrics]\nprometheus_port = {metrics}\n[performance]\n{performance}\n\
                 [logging]\nenable_file_logging = true\nlog_file = {log:?}\n"
            ),
        )
    }

    /// Starts the proxy and waits until it serves miners.
    pub(crate) fn start(&self) -> Proxy {
        let config = self.config();
        Proxy::ready(program().arg("--config").arg(config), self.address, self.metrics)
    }

    /// What `doctor --json` says of the pools.
    pub(crate) fn doctor(&self) -> Vec<Value> {
        let config = self.config();
        let output = finish(program().args(["doctor", "--json", "--timeout", "3s", "--config"]).arg(config));
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        told["pools"].as_array().unwrap().clone()
    }

    /// What the proxy has logged so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("proxy.log")).unwrap_or_default()
    }

    /// Waits for a line of the log that has all these words.
    pub(crate) fn wait_for_log(&self, words: &[&str]) {
        until(&format!("a log line with {words:?}"), || {
            self.log().lines().any(|line| words.iter().all(|word| line.contains(word)))
        });
    }
}

/// What `/health` says of a pool.
pub(crate) fn health(proxy: &Proxy, pool: &str) -> Value {
    let answer = http(proxy.metrics, "/health").unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let told: Value = serde_json::from_str(body).unwrap();
    let pools = told["pools"].as_array().unwrap();
    pools.iter().find(|told| told["name"] == pool).unwrap().clone()
}

/// Waits until a pool is in a state, and gives the cause.
pub(crate) fn wait_for_state(proxy: &Proxy, pool: &str, state: &str) -> String {
    let mut told = Value::Null;
    until(&format!("{pool} is {state}"), || {
        told = health(proxy, pool);
        told["state"] == state
    });
    told["cause"].as_str().unwrap().to_owned()
}

/// What a gate does before it passes bytes on.
#[derive(Clone, Default)]
pub(crate) struct Opening {
    /// Goes out first, as it is.
    pub(crate) before: Vec<u8>,
    /// Speaks TLS with the target, whose certificate must be for this name.
    pub(crate) tls: Option<(Arc<ClientConfig>, &'static str)>,
}

/// A way from plain miners to a target that wants TLS, or a header first. Ends when it is dropped.
pub(crate) struct Gate {
    pub(crate) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Gate {
    pub(crate) fn start(target: SocketAddr, opening: Opening) -> Gate {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let serve = async move {
            while let Ok((miner, _)) = listener.accept().await {
                tokio::spawn(pass(miner, target, opening.clone()));
            }
        };
        let run = move || {
            runtime.block_on(async {
                tokio::select! {
                    () = serve => {}
                    _ = stopped => {}
                }
            });
        };
        Gate { address, stop: Some(stop), thread: Some(std::thread::spawn(run)) }
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Whatever goes wrong ends the connection, which the miner sees.
async fn pass(mut miner: TcpStream, target: SocketAddr, opening: Opening) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(target).await?;
    miner.set_nodelay(true)?;
    stream.set_nodelay(true)?;
    stream.write_all(&opening.before).await?;
    let Some((config, name)) = opening.tls else {
        return copy_bidirectional(&mut miner, &mut stream).await.map(drop);
    };
    let name = ServerName::try_from(name).map_err(std::io::Error::other)?;
    let mut stream = TlsConnector::from(config).connect(name, stream).await?;
    copy_bidirectional(&mut miner, &mut stream).await.map(drop)
}
