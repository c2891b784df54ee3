//! Where the API is: what was typed as `--url`, made to a base that paths are put behind.

/// The port of the metrics where nobody says another.
const PORT: u16 = 9090;

/// `farm`, `farm:9090`, `http://farm:9090/behind/` to `http://farm:9090/behind`.
///
/// # Errors
/// In words for whoever typed it.
pub(super) fn base(typed: &str) -> Result<String, String> {
    let wrong = |why: &str| format!("{why}; expected a URL such as http://127.0.0.1:{PORT}");
    let typed = typed.trim();
    let (is_bare, rest) = match typed.split_once("://") {
        Some(("http", rest)) => (false, rest),
        Some(("https", _)) => return Err(wrong("TLS is not spoken (`ssh -L` brings a port here)")),
        Some(_) => return Err(wrong("only http:// is spoken")),
        None => (true, typed),
    };
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    if authority.contains('@') {
        return Err(wrong("a login in a URL is not supported, and reading needs none"));
    }
    let bare_v6 = authority.parse::<std::net::Ipv6Addr>().map(|address| format!("[{address}]"));
    let authority: ureq::http::uri::Authority = bare_v6
        .unwrap_or_else(|_| authority.to_owned())
        .parse()
        .map_err(|_| wrong("this is no host and port"))?;
    let says_port = authority.as_str().rsplit(']').next().is_some_and(|rest| rest.contains(':'));
    if says_port && authority.port_u16().is_none() {
        return Err(wrong("this is no port"));
    }
    if path.contains(['?', '#']) || path.contains(char::is_whitespace) || path.contains(char::is_control) {
        return Err(wrong("a question or a blank has no place in it"));
    }
    let port = if is_bare && !says_port { format!(":{PORT}") } else { String::new() };
    let path = path.trim_end_matches('/');
    let slash = if path.is_empty() { "" } else { "/" };
    Ok(format!("http://{authority}{port}{slash}{path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_becomes_a_base_or_a_complaint() {
        for (typed, expected) in [
            ("farm", "http://farm:9090"),
            ("farm:3333", "http://farm:3333"),
            (" 127.0.0.1:9090/ ", "http://127.0.0.1:9090"),
            ("[::1]:9090", "http://[::1]:9090"),
            ("::1", "http://[::1]:9090"),
            ("http://farm", "http://farm"),
            ("http://farm:80/behind/it/", "http://farm:80/behind/it"),
        ] {
            assert_eq!(base(typed).as_deref(), Ok(expected), "{typed}");
        }
        for wrong in [
            "",
            "http://",
            "https://farm",
            "ftp://farm",
            "a b",
            "farm:",
            "farm:99999",
            "u:p@farm",
            "farm/?x",
            ":1/\u{7}",
        ] {
            assert!(base(wrong).is_err(), "{wrong}: {:?}", base(wrong));
        }
    }
}
