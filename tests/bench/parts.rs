//! What the parts cost: reading, judging, journal lines, results.
//!
//! `cargo bench --bench parts`

#![allow(clippy::unwrap_used, reason = "a benchmark that can't run has nothing to say")]

use std::fmt::Write as _;
use std::path::PathBuf;

use bkassoc::association::Cells;
use bkassoc::cmdb::verdict::judge;
use bkassoc::cmdb::wire::{Answer, Envelope, Reply};
use bkassoc::input::{InputOptions, Reader};
use bkassoc::options::Format;
use bkassoc::outcome::{Outcome, Record, Status};
use bkassoc::storage::journal::Journal;
use bkassoc::storage::journal::disk::Disk;
use bkassoc::storage::results::Layout;
use bkassoc::storage::results::writer::Writer;
use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use futures::FutureExt;
use futures::future::BoxFuture;

const ROWS: u64 = 10_000;

fn main() {
    divan::main();
}

struct Nowhere;

impl Disk for Nowhere {
    fn append(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        black_box(bytes);
        Ok(())
    }

    fn sync(&self) -> BoxFuture<'static, std::io::Result<()>> {
        std::future::ready(Ok(())).boxed()
    }
}

fn record(ordinal: u64) -> Record {
    let target = ordinal.to_string();
    let mut outcome = Outcome::good(Status::Created, 1_000_000 + ordinal as i64, 1, 1_700_000_000);
    outcome.request_id = Some("e43da4ef221746868dc4c837d36f3807".to_owned());
    let cells = Cells::new(["bk_switch_belong_bk_host", "11", &target, "1"]);
    Record { ordinal, file: 0, line: ordinal + 2, cells, outcome }
}

#[divan::bench]
fn reading(bencher: Bencher<'_, '_>) {
    let mut text = "obj_asst_id,inst_id,asst_inst_id,biz_id\n".to_owned();
    for row in 0..ROWS {
        writeln!(text, "bk_switch_belong_bk_host,{},{},1", row % 997 + 1, row + 1).unwrap();
    }
    let bytes: &'static [u8] = text.into_bytes().leak();
    bencher.counter(ItemsCount::new(ROWS)).bench(|| {
        let reader = Reader::from_read("rows", bytes, &InputOptions::default()).unwrap();
        reader.map(|row| row.unwrap().fingerprint()).fold(0, |a, b| a ^ b)
    });
}

#[divan::bench]
fn judging(bencher: Bencher<'_, '_>) {
    let body = br#"{"result":true,"code":0,"message":"","data":{"id":1038},"permission":null,"request_id":"e43da4ef221746868dc4c837d36f3807"}"#;
    bencher.counter(ItemsCount::new(1_u32)).bench(|| {
        let envelope = Envelope::parse(black_box(body));
        judge(&Reply::Answered(Answer { status: 200, envelope, ..Answer::default() }), true)
    });
}

#[divan::bench]
fn journal_lines(bencher: Bencher<'_, '_>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let _inside = runtime.enter();
    let records: Vec<Record> = (0..ROWS).map(record).collect();
    bencher.counter(ItemsCount::new(ROWS)).bench_local(|| {
        let mut journal = Journal::new(PathBuf::from("j"), Box::new(Nowhere), 0, 0);
        for record in &records {
            journal.outcome(record);
            journal.flush().unwrap();
        }
    });
}

#[divan::bench(args = [Format::Csv, Format::Jsonl])]
fn results_lines(bencher: Bencher<'_, '_>, format: Format) {
    let records: Vec<Record> = (0..ROWS).map(record).collect();
    bencher.counter(ItemsCount::new(ROWS)).bench(|| {
        let mut writer = Writer::new(std::io::sink(), format, Layout::default()).unwrap();
        for record in &records {
            writer.write(record).unwrap();
        }
        writer.finish().unwrap().1
    });
}
