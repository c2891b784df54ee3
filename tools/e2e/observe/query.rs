//! Just enough of PromQL to find what a query asks for: selectors with their matchers, and labels of groupings. It
//! evaluates nothing, and knows no types: that is Prometheus' own work.

/// Words that are no metric where no parenthesis follows; aggregations stand before `by`.
const WORDS: [&str; 10] = ["and", "or", "unless", "bool", "offset", "sum", "min", "max", "avg", "count"];
/// Words whose parentheses hold labels.
const GROUPINGS: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];

/// What a query asks for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Query {
    pub(crate) selectors: Vec<Selector>,
    /// Labels that it groups or matches by.
    pub(crate) groupings: Vec<String>,
}

/// One name with its matchers.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Selector {
    pub(crate) name: String,
    pub(crate) matchers: Vec<Matcher>,
}

/// A label with the value, or the alternatives between `|`, that it is held against.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Matcher {
    pub(crate) label: String,
    pub(crate) value: String,
}

impl Query {
    /// # Errors
    /// What is not understood.
    pub(crate) fn read(text: &str) -> Result<Query, String> {
        let mut query = Query::default();
        let mut rest = text;
        // `label_values(METRIC, LABEL)` is Grafana's.
        if let Some(inner) = text.strip_prefix("label_values(").and_then(|inner| inner.strip_suffix(')')) {
            let (selector, label) = inner.rsplit_once(',').ok_or("label_values without a label")?;
            query.groupings.push(label.trim().to_owned());
            rest = selector;
        }
        while let Some(first) = rest.chars().next() {
            if first.is_ascii_digit() || first == '$' {
                rest = rest[1..].trim_start_matches(|other: char| is_of_name(other) || other == '.');
            } else if first == '[' {
                rest = rest.split_once(']').ok_or("a range without an end")?.1;
            } else if is_of_name(first) {
                let (name, after) = name(rest);
                rest = query.take(name, after)?;
            } else if first == '"' || first == '{' {
                return Err(format!("{first} without a name before it"));
            } else {
                rest = &rest[first.len_utf8()..];
            }
        }
        Ok(query)
    }

    fn take<'a>(&mut self, name: &str, after: &'a str) -> Result<&'a str, String> {
        let behind = after.trim_start();
        if let Some(labels) = behind.strip_prefix('(') {
            if !GROUPINGS.contains(&name) {
                return Ok(labels);
            }
            let (labels, rest) = labels.split_once(')').ok_or("labels without an end")?;
            self.groupings.extend(labels.split(',').map(|label| label.trim().to_owned()));
            return Ok(rest);
        }
        if WORDS.contains(&name) {
            return Ok(after);
        }
        let mut selector = Selector { name: name.to_owned(), matchers: Vec::new() };
        let mut rest = after;
        if let Some(inner) = behind.strip_prefix('{') {
            let (matchers, behind) = inner.split_once('}').ok_or("matchers without an end")?;
            for matcher in matchers.split(',') {
                let (label, value) = matcher.split_once('"').ok_or(format!("no matcher: {matcher}"))?;
                let value = value.strip_suffix('"').ok_or(format!("no end: {matcher}"))?.to_owned();
                let label = label.trim().trim_end_matches(['=', '~', '!']).to_owned();
                selector.matchers.push(Matcher { label, value });
            }
            rest = behind;
        }
        self.selectors.push(selector);
        Ok(rest)
    }
}

impl Selector {
    /// Whether a line of the exposition is a series of this name.
    pub(crate) fn is_name_of(&self, line: &str) -> bool {
        line.strip_prefix(&self.name).is_some_and(|rest| rest.starts_with(['{', ' ']))
    }
}

fn is_of_name(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '_' || letter == ':'
}

fn name(text: &str) -> (&str, &str) {
    text.split_at(text.find(|other| !is_of_name(other)).unwrap_or(text.len()))
}

#[test]
fn selectors_are_found_with_their_matchers() {
    let query = Query::read(
        "sum by (job, le) (rate(a_total{x=~\"b|c\",y!=\"d\"}[$__rate_interval])) > bool 0.5 and on (x) e offset 10m == 2",
    );
    let matcher = |label: &str, value: &str| Matcher { label: label.into(), value: value.into() };
    let expected = Query {
        selectors: vec![
            Selector { name: "a_total".into(), matchers: vec![matcher("x", "b|c"), matcher("y", "d")] },
            Selector { name: "e".into(), matchers: vec![] },
        ],
        groupings: ["job", "le", "x"].map(String::from).to_vec(),
    };
    assert_eq!(query, Ok(expected));
    let values = Query::read("label_values(a{b=\"c\"}, d)").unwrap();
    assert_eq!((values.selectors[0].name.as_str(), values.groupings), ("a", vec!["d".to_owned()]));
    for broken in ["{a=\"b\"}", "a{b}", "a{b=\"c\"", "a[5m", "sum by (a"] {
        assert!(Query::read(broken).is_err(), "{broken}");
    }
}
