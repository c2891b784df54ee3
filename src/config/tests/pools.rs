//! Several pools, fail-over, TLS to pools.

use super::*;

fn pools(toml: &str) -> Vec<PoolConfig> {
    loaded(toml, &[]).config.pools
}

fn complaints_about(toml: &str) -> Vec<String> {
    complaints(toml, &[], &Overrides::default())
}

fn names(pools: &[PoolConfig]) -> Vec<&str> {
    pools.iter().map(|pool| pool.name.as_str()).collect()
}

const TWO: &str = "[[pool]]\nhost = \"a.example\"\n[[pool]]\nhost = \"b.example\"\n";

#[test]
fn several_pools_keep_their_order_and_their_keys() {
    let toml = "[[pool]]\nhost = \"a.example\"\nusername = \"farm\"\n\
                [[pool]]\nhost = \"stratum+ssl://b.example:443\"\npriority = 1\nweight = 3\n\
                [[pool]]\nname = \"last\"\nhost = \"c.example\"\nport = 25\n";
    let pools = pools(toml);
    assert_eq!(names(&pools), ["pool", "pool2", "last"]);
    let urls: Vec<String> = pools.iter().map(PoolConfig::url).collect();
    assert_eq!(
        urls,
        ["stratum+tcp://a.example:3333", "stratum+ssl://b.example:443", "stratum+tcp://c.example:25"]
    );
    let ranks: Vec<(u32, u32)> = pools.iter().map(|pool| (pool.priority, pool.weight.get())).collect();
    assert_eq!(ranks, [(1, 1), (1, 3), (3, 1)]);
    let accounts: Vec<&str> = pools.iter().map(|pool| pool.username.as_str()).collect();
    assert_eq!(accounts, ["farm", "", ""]);
    // Every way to write a list of sections.
    assert_eq!(self::pools(TWO), self::pools("pool = [{host = \"a.example\"}, {host = \"b.example\"}]"));
    assert_eq!(self::pools("[[pool]]\nhost = \"pool.example.com\"\n"), self::pools(POOL));
}

#[test]
fn environment_and_command_line_speak_of_the_first_pool() {
    let variables = [("LOKA_POOL_HOST", "env.example"), ("LOKA_POOL_USERNAME", "farm")];
    let overrides = Overrides {
        pool: Some("flag.example:1".to_owned()),
        set: vec![("pool.weight".to_owned(), "7".to_owned())],
        ..Overrides::default()
    };
    let pools = from(TWO, &variables, &overrides).unwrap().config.pools;
    assert_eq!((pools[0].endpoint().as_str(), pools[0].weight.get()), ("flag.example:1", 7));
    assert_eq!((pools[1].endpoint().as_str(), pools[1].weight.get()), ("b.example:3333", 1));
    assert_eq!((pools[0].username.as_str(), pools[1].username.as_str()), ("farm", ""));
    // The first pool may have its host from there alone.
    let toml = "[[pool]]\n[[pool]]\nhost = \"b.example\"\n";
    assert_eq!(loaded(toml, &variables).config.pools[0].endpoint(), "env.example:3333");
}

#[test]
fn a_pool_has_a_host_and_a_place_in_a_list_that_ends() {
    assert_eq!(
        complaints_about("[[pool]]\nusername = \"farm\"\n\n[[pool]]\n"),
        [
            "config.toml:1: [[pool]]: host is not set: every pool needs one",
            "config.toml:4: [[pool]]: host is not set: every pool needs one",
        ]
    );
    let list = |count: u32| -> String {
        (0..count).map(|number| format!("[[pool]]\nhost = \"a{number}.example\"\n")).collect()
    };
    assert_eq!(pools(&list(16)).len(), 16);
    let all = complaints_about(&format!("{}port = 0\n", list(17)));
    assert_eq!(all, ["config.toml:33: [[pool]]: there may be at most 16 pools"]);
    assert_eq!(
        complaints_about("pool = [{host = \"a.example\"}, 1]"),
        ["config.toml:1: pool: must be a section, written [pool] on a line of its own"]
    );
    // A mistake in a later pool names its line.
    let all = complaints_about(&format!("{TWO}port = 0\nwieght = 2\n"));
    assert_eq!(
        all,
        [
            "config.toml:5: pool.port = 0: must be a whole number from 1 to 65535",
            "config.toml:6: unknown key pool.wieght (did you mean pool.weight?)",
        ]
    );
}

#[test]
fn names_are_labels_and_therefore_unique() {
    let toml = "[[pool]]\nname = \"x\"\nhost = \"a\"\n[[pool]]\nname = \"x\"\nhost = \"b\"\n";
    assert_eq!(
        complaints_about(toml),
        ["config.toml:5: pool.name = \"x\": another pool has this name: config.toml:2: pool.name = \"x\""]
    );
    // The name that a pool without one gets.
    let toml = "[[pool]]\nname = \"pool2\"\nhost = \"a\"\n[[pool]]\nhost = \"b\"\n";
    assert_eq!(
        complaints_about(toml),
        [
            "config.toml:2: pool.name = \"pool2\": another pool has this name: pool.name = \"pool2\" (the default)"
        ]
    );
    let toml = "[[pool]]\nhost = \"a\"\n[[pool]]\nname = \"x\"\nhost = \"b\"\n";
    assert_eq!(
        complaints(toml, &[("LOKA_POOL_NAME", "x")], &Overrides::default()),
        ["LOKA_POOL_NAME = \"x\": another pool has this name: config.toml:4: pool.name = \"x\""]
    );
}

#[test]
fn a_pool_is_named_once() {
    let two = |first: &str, second: &str| format!("[[pool]]\nhost = {first}\n[[pool]]\nhost = {second}\n");
    assert_eq!(
        complaints_about(&two("\"a:3333\"", "\"A.\"")),
        [
            "config.toml:4: pool.host = \"A.\": this pool is named twice, also by config.toml:2: pool.host = \"a:3333\""
        ]
    );
    for (first, second) in [
        ("\"a\"", "\"a:4444\""),
        ("\"a\"", "\"a\"\nusername = \"other\""),
        ("\"a\"", "\"ssl://a\""),
        ("\"ssl://a\"", "\"ssl://a\"\ntls_min_version = \"1.3\""),
    ] {
        assert_eq!(pools(&two(first, second)).len(), 2, "{first} {second}");
    }
    // What is refused or missing is not compared.
    assert_eq!(complaints_about(&two("\"a b\"", "\"a b\"")).len(), 2);
    assert_eq!(complaints_about("[[pool]]\n[[pool]]\n").len(), 2);
}

#[test]
fn tls_to_a_pool() {
    let toml = format!(
        "{TLS_POOL}tls_ca_file = \"/etc/ca.pem\"\ntls_server_name = \"Other.example\"\n\
         tls_pins = \"sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE=\"\ntls_min_version = \"1.3\"\n"
    );
    let mut pin = [0; 32];
    pin[31] = 1;
    let tls = PoolTls {
        ca_file: Some(PathBuf::from("/etc/ca.pem")),
        server_name: Some("other.example".to_owned()),
        pins: vec![pin],
        min_version: TlsVersion::V1_3,
    };
    assert_eq!(pools(&toml)[0].tls, Some(tls));
    let plain = PoolTls { ca_file: None, server_name: None, pins: Vec::new(), min_version: TlsVersion::V1_2 };
    assert_eq!(pools(TLS_POOL)[0].tls, Some(plain));
    assert_eq!(pools(POOL)[0].tls, None);
    // Keys at their defaults ask for nothing.
    assert_eq!(pools(&format!("{POOL}tls_ca_file = \"\"\ntls_pins = []\n"))[0].tls, None);
    for key in ["tls_ca_file = \"a\"", "tls_server_name = \"a\"", "tls_min_version = \"1.3\""] {
        assert_eq!(
            complaints_about(&format!("{POOL}{key}\n")),
            [format!(
                "config.toml:3: pool.{key}: needs TLS: write stratum+ssl:// before the pool's host \
                 (config.toml:2: pool.host = \"pool.example.com\")"
            )]
        );
    }
}

#[test]
fn a_proxy_and_what_is_told_of_it() {
    let toml = format!("{POOL}proxy = \"socks5://farm:hunter2@proxy.example:1080\"\n");
    let proxy = pools(&toml)[0].proxy.clone().unwrap();
    assert_eq!((proxy.host, proxy.port), (Host::Name("proxy.example".to_owned()), 1080));
    assert_eq!(proxy.credentials, Some(("farm".to_owned(), Secret::new("hunter2"))));
    for value in ["\"http://farm:hunter2@proxy:1\"", "[\"socks5://farm:hunter2@proxy:1\"]"] {
        let all = complaints_about(&format!("{POOL}proxy = {value}\n"));
        assert!(
            all[0].starts_with("config.toml:3: pool.proxy = (hidden): must be \"socks5://host:port\""),
            "{all:?}"
        );
    }
}

#[test]
fn pauses_of_failed_pools_have_an_order() {
    let all = complaints_about(&format!("{POOL}[failover]\nbackoff_min = \"2m\"\n"));
    assert_eq!(
        all,
        [
            "config.toml:4: failover.backoff_min = \"2m\": failover.backoff_max (1m) must be at least as long as \
          failover.backoff_min (2m)"
        ]
    );
    let failover = loaded(&format!("{POOL}[failover]\nconnects_per_second = 0\n"), &[]).config.failover;
    assert_eq!(failover.connects_per_second, None);
    assert_eq!((failover.failures.get(), failover.dns_servers), (3, Vec::new()));
}
