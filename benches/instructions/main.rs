//! How many instructions the core needs, counted by callgrind: exact, so that a limit can be held.
//!
//! It measures one call of each path, with everything warm and set up before. The limits are in `counts.txt`, and
//! `.ci/instructions` runs it. It refuses to tell time: that is for `core.rs`.

#[path = "../corpus/mod.rs"]
mod corpus;
mod limits;
mod reader;
mod steps;

use corpus::{ACCEPTED, NOTIFY, REJECTED, SUBMIT, account, standard};
use gungraun::{library_benchmark, library_benchmark_group};
use limits::{limit, limit_of_stage};
use loka_proto::{MessagePipelineBuilder, Stats, UserRule};
use reader::Reader;
use std::hint::black_box;
use steps::{Link, StatsStep, Step};

#[library_benchmark(setup = Reader::warm, teardown = Reader::check)]
#[bench::submit(args = (SUBMIT, reader::bare), config = limit("parse/submit"))]
#[bench::submit_checked(args = (SUBMIT, reader::checked), config = limit("parse/submit_checked"))]
#[bench::answer(args = (ACCEPTED, reader::bare), config = limit("parse/answer"))]
#[bench::rejection(args = (REJECTED, reader::bare), config = limit("parse/rejection"))]
#[bench::notify(args = (NOTIFY, reader::bare), config = limit("parse/notify"))]
fn parse(mut reader: Box<Reader>) -> Box<Reader> {
    reader.read();
    reader
}

#[library_benchmark(setup = steps::warm, teardown = steps::check)]
#[bench::share_user_as_it_came(
    args = (standard(), UserRule::default(), &[steps::share], steps::share),
    config = limit("session/share_user_as_it_came")
)]
#[bench::share_user_rewritten(
    args = (standard(), account(), &[steps::share], steps::share),
    config = limit("session/share_user_rewritten")
)]
#[bench::share_no_stages(
    args = (MessagePipelineBuilder::new().build(), UserRule::default(), &[steps::share], steps::share),
    config = limit("session/share_no_stages")
)]
#[bench::share_in_two_segments(
    args = (standard(), UserRule::default(), &[steps::in_two], steps::in_two),
    config = limit("session/share_in_two_segments")
)]
#[bench::share_rejected(
    args = (standard(), UserRule::default(), &[steps::rejected], steps::rejected),
    config = limit("session/share_rejected")
)]
#[bench::share_claimed(
    args = (standard(), UserRule::default(), &[steps::hashing, steps::share, steps::prove], steps::share),
    config = limit("session/share_claimed")
)]
#[bench::hash(
    args = (standard(), UserRule::default(), &[steps::hashing, steps::share, steps::prove, steps::share], steps::prove),
    config = limit("session/hash")
)]
#[bench::sixteen_submits(
    args = (standard(), UserRule::default(), &[steps::submits, steps::answers], steps::submits),
    config = limit("session/sixteen_submits")
)]
#[bench::sixteen_answers(
    args = (standard(), UserRule::default(), &[steps::submits, steps::answers, steps::submits], steps::answers),
    config = limit("session/sixteen_answers")
)]
#[bench::notify(
    args = (standard(), UserRule::default(), &[steps::remember_no_jobs, steps::notify], steps::notify),
    config = limit("session/notify")
)]
#[bench::notify_hashing(
    args = (standard(), UserRule::default(), &[steps::decode_all_jobs, steps::notify], steps::notify),
    config = limit("session/notify_hashing")
)]
#[bench::notify_known(
    args = (standard(), UserRule::default(), &[steps::notify], steps::notify),
    config = limit("session/notify_known")
)]
#[bench::whole_life(
    args = (standard(), UserRule::default(), &[steps::life], steps::life),
    config = limit("session/whole_life")
)]
fn session((mut link, step): (Box<Link>, Step)) -> Box<Link> {
    step(&mut link);
    link
}

// Counts `steps::through_the_chain` only: what a stage is given can be lent to it, but not be set up and kept.
#[library_benchmark]
#[bench::submit(config = limit_of_stage("middleware/submit"))]
fn middleware() {
    steps::lend_a_submit();
}

#[library_benchmark(setup = steps::filled)]
#[bench::record_share(args = (steps::record), config = limit("stats/record_share"))]
#[bench::merge(args = (steps::merge), config = limit("stats/merge"))]
#[bench::clear(args = (steps::clear), config = limit("stats/clear"))]
fn stats((mut both, step): (Box<[Stats; 2]>, StatsStep)) -> Box<[Stats; 2]> {
    step(black_box(&mut both));
    both
}

library_benchmark_group!(name = paths, benchmarks = [parse, session, middleware, stats]);

mod counted {
    use super::paths;

    gungraun::main!(library_benchmark_groups = paths);

    pub(super) fn run() {
        main();
    }
}

/// `cargo test --benches` and a `cargo bench` of everything come here too, on machines that cannot count.
#[allow(clippy::print_stderr, reason = "the one who started it is told why nothing was counted")]
fn main() {
    let is_run_by_callgrind = std::env::args().any(|argument| argument == "--gungraun-run");
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let has_runner = std::env::split_paths(&folders).any(|folder| folder.join("gungraun-runner").is_file());
    if is_run_by_callgrind || has_runner {
        counted::run();
    } else {
        eprintln!("instructions: not counted, for there is no gungraun-runner; .ci/instructions installs it");
    }
}
