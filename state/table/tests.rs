//! Entries that come, change, expire and give way.

use super::*;

fn put(table: &Table, key: &str, now: Millis, until: Millis) {
    table.update(key.as_bytes(), now, &mut |_| Step::Put(b"record".to_vec(), timestamp(until)));
}

fn has(table: &Table, key: &str, now: Millis) -> bool {
    let mut found = false;
    table.update(key.as_bytes(), now, &mut |octets| {
        found = octets.is_some();
        Step::Keep
    });
    found
}

fn changes(table: &Table) -> Changes {
    let mut all = Changes::default();
    for number in 0..table.parts() {
        loop {
            let (some, _) = table.take_changes(number);
            all.removed.extend(some.removed);
            all.put.extend(some.put);
            if !some.has_more {
                break;
            }
        }
    }
    all
}

#[test]
fn a_flood_of_short_lived_records_leaves_the_long_lived_alone() {
    let table = Table::new(2_000, false);
    for number in 0..1_000 {
        put(&table, &format!("known {number}"), 1, 1_000_000);
    }
    for number in 0..20_000 {
        put(&table, &format!("new {number}"), 2, 5_000);
    }
    let known = (0..1_000).filter(|number| has(&table, &format!("known {number}"), 3)).count();
    assert!(known >= 999, "{known} of 1000 are left");
    assert!(table.len() <= 2_000, "{}", table.len());
    assert_eq!(table.evicted(), 19_000);
}

#[test]
fn a_store_full_of_long_lived_records_takes_new_ones() {
    let table = Table::new(500, false);
    for number in 0..500 {
        put(&table, &format!("known {number}"), 1, 1_000_000);
    }
    put(&table, "new", 2, 5_000);
    assert!(has(&table, "new", 3));
    assert!(table.len() <= 500);
}

#[test]
fn new_records_sweep_out_expired_ones() {
    let table = Table::new(1_000_000, false);
    for number in 0..10_000 {
        put(&table, &format!("old {number}"), 1, 100);
    }
    for number in 0..10_000 {
        put(&table, &format!("new {number}"), 200, 1_000);
    }
    assert!(table.len() < 15_000, "{}", table.len());
    assert_eq!(table.evicted(), 0);
}

#[test]
fn sweeping_removes_what_has_expired_and_nothing_else() {
    let table = Table::new(100_000, false);
    for number in 0..10_000 {
        put(&table, &format!("{number}"), 1, if number % 2 == 0 { 100 } else { 101 });
    }
    for number in 0..table.parts() {
        table.sweep(number, 100);
    }
    assert_eq!(table.len(), 5_000);
    assert!(has(&table, "1", 100));
}

#[test]
fn what_changed_is_told_once_and_again_when_it_could_not_be_written() {
    let table = Table::new(1_000, true);
    put(&table, "a", 1, 10);
    put(&table, "a", 2, 20);
    put(&table, "b", 2, 20);
    table.remove(b"b");
    let told = changes(&table);
    assert_eq!(told.put, [(Packed::new(b"a", b"record"), 20)]);
    assert_eq!(told.removed, [Packed::new(b"b", b"record")]);
    assert_eq!(changes(&table).len(), 0);
    put(&table, "b", 3, 30);
    table.take_back(told);
    let told = changes(&table);
    assert_eq!((told.put.len(), told.removed.len()), (2, 0));
}

#[test]
fn what_was_removed_long_ago_is_told_before_what_is_there_again() {
    let table = Table::new(100_000, true);
    let keys: Vec<String> = (0..60_000).map(|number| number.to_string()).collect();
    for key in &keys {
        put(&table, key, 1, 10);
        table.remove(key.as_bytes());
    }
    for key in &keys {
        put(&table, key, 2, 20);
    }
    let mut written = std::collections::BTreeSet::new();
    for number in 0..table.parts() {
        loop {
            let (some, _) = table.take_changes(number);
            for packed in &some.removed {
                written.remove(packed.key());
            }
            written.extend(some.put.iter().map(|(packed, _)| packed.key().to_vec()));
            if !some.has_more {
                break;
            }
        }
    }
    assert_eq!(written.len(), keys.len());
}

#[test]
fn what_can_not_be_written_is_remembered_in_bounded_memory() {
    let table = Table::new(100, true);
    for number in 0..100_000 {
        put(&table, &number.to_string(), 1, 10);
    }
    for number in 0..table.parts() {
        table.bound_changes(number, 10);
    }
    let remembered: usize = (0..table.parts())
        .map(|number| {
            let part = table.part(number);
            part.changed.len() + part.removed.len()
        })
        .sum();
    assert!(remembered < 1_000, "{remembered}");
    assert_eq!(changes(&table).put.len(), table.len());
}

#[test]
fn a_clock_that_was_ahead_sweeps_out_nothing_once_it_is_right() {
    let table = Table::new(1_000, false);
    for number in 0..100 {
        put(&table, &format!("ahead {number}"), 1_000_000, 2_000_000);
    }
    for number in 0..500 {
        put(&table, &format!("right {number}"), 100, 1_000);
    }
    let right = (0..500).filter(|number| has(&table, &format!("right {number}"), 100)).count();
    assert_eq!(right, 500);
}

#[test]
fn a_lower_bound_is_reached_as_new_records_come() {
    let table = Table::new(10_000, false);
    for number in 0..10_000 {
        put(&table, &format!("{number}"), 1, 1_000);
    }
    table.set_max_entries(1_000);
    for number in 0..10_000 {
        put(&table, &format!("new {number}"), 2, 1_000);
    }
    assert!(table.len() <= 1_000 + FEWEST_PARTS, "{}", table.len());
}

#[test]
fn records_may_change_their_length() {
    let table = Table::new(1_000, false);
    for octets in [&b"short"[..], b"much longer", b""] {
        table.insert(b"key", octets, 10);
        let stored = table.list(b"", None, 10, 1);
        assert_eq!(
            stored,
            [Stored { key: b"key".to_vec(), octets: octets.to_vec(), until: timestamp(10) }]
        );
    }
}

#[test]
fn pages_follow_each_other() {
    let table = Table::new(1_000, false);
    for number in 0..100 {
        put(&table, &format!("a/{number:02}"), 1, 10);
        put(&table, &format!("b/{number:02}"), 1, 10);
    }
    let (mut seen, mut behind) = (Vec::new(), None);
    loop {
        let page = table.list(b"a/", behind.as_deref(), 7, 1);
        let Some(last) = page.last() else { break };
        behind = Some(last.key.clone());
        seen.extend(page.into_iter().map(|stored| String::from_utf8(stored.key).unwrap()));
    }
    let expected: Vec<String> = (0..100).map(|number| format!("a/{number:02}")).collect();
    assert_eq!(seen, expected);
}
