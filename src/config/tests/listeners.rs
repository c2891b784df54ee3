//! TLS to miners, PROXY headers, ports beside each other.

use super::*;

fn complaints_about(toml: &str) -> Vec<String> {
    complaints(toml, &[], &Overrides::default())
}

const FILES: [&str; 2] = ["cert_file = \"c.pem\"", "key_file = \"k.pem\""];

fn tls(more: &[&str]) -> String {
    server_tls(&[&FILES, more].concat())
}

#[test]
fn tls_to_miners() {
    let config = loaded(&tls(&["port = 3443"]), &[]).config.server;
    assert_eq!(config.listen_tls().collect::<Vec<_>>(), ["0.0.0.0:3443".parse().unwrap()]);
    assert_eq!(config.listen().collect::<Vec<_>>(), ["0.0.0.0:3333".parse().unwrap()]);
    let expected = ServerTls {
        cert_file: PathBuf::from("c.pem"),
        key_file: PathBuf::from("k.pem"),
        port: Some(3443),
        same_port: false,
        min_version: TlsVersion::V1_2,
    };
    assert_eq!(config.tls, Some(expected));
    let shared = loaded(&tls(&["same_port = true"]), &[]).config.server;
    assert_eq!((shared.listen_tls().count(), shared.tls.unwrap().port), (0, None));
    let plain = loaded(POOL, &[]).config.server;
    assert_eq!((plain.listen_tls().count(), plain.tls), (0, None));
    // As a section, and from the environment.
    let section = format!("{POOL}[server.tls]\ncert_file = \"c.pem\"\nkey_file = \"k.pem\"\nport = 3443\n");
    assert_eq!(loaded(&section, &[]).config.server, config);
    let variables = [
        ("LOKA_SERVER_TLS_CERT_FILE", "c.pem"),
        ("LOKA_SERVER_TLS_KEY_FILE", "k.pem"),
        ("LOKA_SERVER_TLS_PORT", "3443"),
    ];
    let from_environment = loaded(POOL, &variables);
    assert_eq!((from_environment.config.server, from_environment.warnings), (config, Vec::new()));
}

#[test]
fn half_of_tls_is_an_error() {
    for (keys, message) in [
        (
            vec![FILES[0], "port = 1"],
            "cert_file = \"c.pem\": needs server.tls.key_file, the file of its private key",
        ),
        (
            vec![FILES[1], "port = 1"],
            "key_file = \"k.pem\": needs server.tls.cert_file, the file of its certificate",
        ),
        (
            FILES.to_vec(),
            "cert_file = \"c.pem\": no port speaks TLS: give server.tls.port, or set server.tls.same_port",
        ),
        (vec!["port = 3443"], "port = 3443: needs server.tls.cert_file and server.tls.key_file"),
        (vec!["same_port = true"], "same_port = true: needs server.tls.cert_file and server.tls.key_file"),
        (
            vec!["min_version = \"1.3\""],
            "min_version = \"1.3\": needs server.tls.cert_file and server.tls.key_file",
        ),
    ] {
        assert_eq!(complaints_about(&server_tls(&keys)), [format!("config.toml:1: server.tls.{message}")]);
    }
    // Keys at their defaults ask for nothing, and what is refused contradicts nobody.
    assert_eq!(loaded(&server_tls(&["port = 0", "same_port = false"]), &[]).config.server.tls, None);
    assert_eq!(complaints_about(&tls(&["port = 70000"])).len(), 1);
    assert_eq!(complaints_about(&server_tls(&["cert_file = 1", "port = 1"])).len(), 1);
}

#[test]
fn every_listener_has_a_port_of_its_own() {
    assert_eq!(
        complaints_about(&tls(&["port = 3333"])),
        ["config.toml:3: server.tls.port = 3333: miners with and without TLS cannot share port 3333 by \
          server.tls.port; set server.tls.same_port instead"]
    );
    assert_eq!(
        complaints_about(&tls(&["port = 9090"])),
        [
            "config.toml:3: server.tls.port = 9090: miners (0.0.0.0:9090) and metrics (127.0.0.1:9090) cannot share \
          a port"
        ]
    );
    let elsewhere = format!("server.address = \"10.0.0.1\"\n{}", tls(&["port = 9090"]));
    assert_eq!(loaded(&elsewhere, &[]).config.server.listen_tls().count(), 1);
}

#[test]
fn sections_in_sections() {
    for (toml, message) in [
        (
            "server.tls = 1\n",
            "config.toml:1: server.tls: must be a section, written [server.tls] on a line of its own",
        ),
        (
            "[[server.tls]]\nport = 1\n",
            "config.toml:1: server.tls: there is one such section, written [server.tls] on a line of its own",
        ),
        (
            "[server.tsl]\nport = 1\n",
            "config.toml:1: unknown section [server.tsl] (did you mean [server.tls]?)",
        ),
        ("[tls]\nport = 1\n", "config.toml:1: unknown section [tls] (did you mean [server.tls]?)"),
        (
            "[server.tls]\nprot = 1\n",
            "config.toml:2: unknown key server.tls.prot (did you mean server.tls.port?)",
        ),
        (
            "[server.tls.port]\n",
            "config.toml:1: server.tls.port = {…}: must be a whole number from 0 to 65535",
        ),
    ] {
        assert_eq!(complaints_about(&format!("{toml}{POOL}")), [message]);
    }
}

#[test]
fn who_may_tell_addresses() {
    let toml = format!("server.proxy_protocol_from = \"10.0.0.5\"\n{POOL}");
    let trusted = loaded(&toml, &[]).config.server.proxy_protocol_from;
    assert!(trusted.len() == 1 && trusted[0].contains(&"10.0.0.5".parse::<std::net::IpAddr>().unwrap()));
    let everybody = loaded(POOL, &[("LOKA_SERVER_PROXY_PROTOCOL_FROM", "10.0.0.0/8,::/0")]);
    assert_eq!(
        everybody.warnings,
        ["LOKA_SERVER_PROXY_PROTOCOL_FROM = \"10.0.0.0/8,::/0\": with ::/0 anybody can claim any address"]
    );
}
