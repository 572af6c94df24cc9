//! Octets to requests and decisions to octets: how fast the wire is read and written.
//!
//! `cargo bench --bench codec`; the throughput is in octets of the requests that Postfix sent.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use mppd::policy::codec::{Decoder, Limits};
use mppd::policy::reply;
use mppd_engine::{Action, Request};

/// All that one smtpd process asked in one session.
const STREAM: &[u8] = include_bytes!("../tests/captures/stream-3.7.11-immediate.bin");

fn decode(stream: &[u8], piece: usize) -> usize {
    let mut decoder = Decoder::new(Limits::default());
    let mut requests = 0;
    for piece in stream.chunks(piece) {
        decoder.buffer().extend_from_slice(piece);
        while let Ok(Some(request)) = decoder.decode() {
            black_box(&request);
            requests += 1;
        }
    }
    requests
}

fn codec(criterion: &mut Criterion) {
    let stream = STREAM.repeat(10);
    let mut group = criterion.benchmark_group("decode");
    group.throughput(Throughput::Bytes(stream.len() as u64));
    for piece in [4_096, 100] {
        group.bench_function(format!("in pieces of {piece}"), |bencher| {
            bencher.iter(|| decode(black_box(&stream), piece));
        });
    }
    group.finish();

    let Ok(request) = Request::from_attributes([("recipient", "bob@example.com")]) else { return };
    let action = Action::Reject(Some("listed by the block list of this site".to_owned()));
    criterion.bench_function("encode a refusal", |bencher| {
        bencher.iter(|| reply::encode(black_box(&action), black_box(&request)));
    });
}

criterion_group!(benches, codec);
criterion_main!(benches);
