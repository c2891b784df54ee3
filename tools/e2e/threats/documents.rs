//! T2 and T17: documents that are no Stratum, and ids that are no numbers, over real sockets beside an honest miner.

use crate::honest::{Honest, crew, ended, pool, proxy, refused};
use crate::support::until;
use loka_attacks::{Conduct, Crew};
use loka_rig::Miner;

#[test]
fn hundreds_of_malformed_documents_are_refused_one_by_one() {
    let pool = pool();
    let proxy = proxy(&pool, &[]);
    let mut honest = Honest::start(&proxy);
    let documents = loka_attacks::malformed();
    let mut refusals = 0_u32;
    for document in &documents {
        let shown = || String::from_utf8_lossy(&document[..document.len().min(200)]).into_owned();
        let mut stranger = Miner::connect(proxy.address).unwrap();
        stranger.send_bytes(document).unwrap();
        stranger.send_bytes(b"\n").unwrap();
        stranger.shutdown_write().unwrap();
        let said = stranger.read_to_end().unwrap();
        assert!(said.len() <= 1, "{}: {said:?}", shown());
        for line in said {
            let answer: serde_json::Value = serde_json::from_str(&line).unwrap();
            assert!(answer["error"].is_array() && answer["result"].is_null(), "{}: {line}", shown());
            refusals += 1;
        }
        if refusals.is_multiple_of(20) {
            honest.share();
        }
    }
    honest.share();
    eprintln!("{} documents, {refusals} refused with an answer", documents.len());
    assert!(documents.len() >= 300 && refusals as usize >= documents.len() * 9 / 10, "{refusals}");
    until("all are counted", || {
        proxy.metric("loka_stratum_requests_refused_total") == f64::from(refusals)
            && proxy.metric("loka_stratum_connections_ended_total") == documents.len() as f64
    });
    for reason in
        ["malformed", "duplicate_key", "bad_id", "no_method", "bad_params", "bad_method", "not_for_miners"]
    {
        assert!(refused(&proxy, reason) > 0.0, "{reason}: none of the documents reaches it");
    }
    let ledger = pool.report();
    assert_eq!((ledger.connections_accepted, ledger.malformed_lines, ledger.unknown_methods), (1, 0, 0));
}

#[test]
fn a_flood_of_malformed_documents_ends_each_connection_after_a_few() {
    let pool = pool();
    let proxy = proxy(&pool, &[]);
    let mut honest = Honest::start(&proxy);
    let crew = Crew::start(crew(&proxy, Conduct::Documents, 8)).unwrap();
    until("many have been closed", || {
        honest.share();
        ended(&proxy, "too_many_errors") >= 50.0
    });
    let told = crew.stop().unwrap();
    honest.share();
    assert!(told.ended_by_other >= 50, "{told:?}");
    let ledger = pool.report();
    assert_eq!((ledger.connections_accepted, ledger.malformed_lines), (1, 0));
}

#[test]
fn five_million_brackets_and_a_megabyte_of_digits_are_cut_at_the_cap() {
    let pool = pool();
    let proxy = proxy(&pool, &[]);
    let mut honest = Honest::start(&proxy);
    let (brackets, digits) = ("[".repeat(5_000_000), "9".repeat(1_000_000));
    for (count, bomb) in [(1.0, brackets), (2.0, digits)] {
        let mut bomber = Miner::connect(proxy.address).unwrap();
        bomber.send_bytes(br#"{"id":1,"method":"mining.submit","params":"#).unwrap();
        // Fails where the proxy closes first, as it does.
        let _ = bomber.send_bytes(bomb.as_bytes());
        until("it is cut", || ended(&proxy, "line_too_long") == count);
        honest.share();
    }
}

#[test]
fn every_id_comes_back_as_it_was_written_or_is_refused_without_one() {
    let pool = pool();
    let proxy = proxy(&pool, &[]);
    let mut miner = Honest::start(&proxy).miner;
    let long = format!("\"{}\"", "i".repeat(126));
    let good = [
        "0",
        "-1",
        "7",
        "7",
        "1.5",
        "1e3",
        "-0",
        "18446744073709551615",
        "18446744073709551616",
        "null",
        "\"\"",
        "\"seven\"",
        "\"\\u0041\"",
        "\"\\\"\"",
        "\"\u{1f600}\"",
        &long,
    ];
    for id in good {
        let answer = miner.request(id, "mining.submit", r#"["farm.rig","none","00","00","00"]"#).unwrap();
        assert!(
            answer.contains(&format!(r#""id":{id},"#)) && answer.contains("\"error\":["),
            "{id}: {answer}"
        );
    }
    let too_long = format!("\"{}\"", "i".repeat(127));
    for id in ["[]", "{}", "true", "[1]", &too_long] {
        miner.send_line(&format!(r#"{{"id":{id},"method":"mining.submit","params":[]}}"#)).unwrap();
        let answer = miner.answer_to("null").unwrap();
        assert!(answer.contains("\"error\":["), "{id}: {answer}");
    }
    until("they are counted", || refused(&proxy, "bad_id") == 5.0);
    assert_eq!(pool.report().shares_received, 0);
}
