use std::time::Duration;

use crate::compare::procfs::*;

fn cpu(of: &[(u32, u64, u64)]) -> Cpu {
    let millis = Duration::from_millis;
    let spent = |(pid, living, whole): &(u32, u64, u64)| {
        // Whoever has run longer has waited longer, too.
        (*pid, Spent { living: millis(*living), whole: millis(*whole), waited: millis(*whole * 2) })
    };
    Cpu(of.iter().map(spent).collect())
}

#[test]
fn a_name_with_brackets_and_spaces_does_not_shift_the_fields_of_stat() {
    let stat = "42 (a) b (c)) S 1 42 42 0 -1 4194560 100 0 0 0 250 31 7 9 20 0 5 0 1000 0 0";
    assert_eq!(ticks(stat), Some(281));
    assert_eq!(ticks("42 (short) S 1"), None);
    assert_eq!(ticks(""), None);
}

#[test]
fn the_exact_count_is_taken_while_threads_live_and_the_whole_one_when_some_ended() {
    let exact = cpu(&[(1, 1_234, 1_230)]).since(&cpu(&[(1, 1_000, 1_000)]));
    assert_eq!(exact, Ok(Duration::from_millis(234)), "the ticks agree: nothing is lost");
    let ended = cpu(&[(1, 900, 1_500)]).since(&cpu(&[(1, 1_000, 1_000)]));
    assert_eq!(ended, Ok(Duration::from_millis(500)), "a thread took 600 ms with it");
}

#[test]
fn a_new_child_counts_in_full_and_one_that_ended_is_an_error() {
    let (one, two) = (cpu(&[(1, 10, 10)]), cpu(&[(1, 30, 30), (2, 5, 0)]));
    assert_eq!(two.since(&one), Ok(Duration::from_millis(25)));
    assert!(one.since(&two).is_err());
    assert_eq!(two.waited_since(&one), Duration::from_millis(40));
}

#[test]
fn memory_is_read_from_the_lines_that_are_meant() {
    let rollup = "55d0-7ffe ---p 0 00:00 0 [rollup]\nRss:    5120 kB\nPss:    4096 kB\nPss_Dirty: 1 kB\n";
    assert_eq!(Memory::parse(rollup), Some(Memory { rss: 5120, pss: 4096 }));
    assert_eq!(Memory::parse("Rss: none"), None);
}

#[test]
fn this_process_has_spent_time_and_holds_memory() {
    let me = std::process::id();
    let before = Cpu::of([me]).expect("our own /proc");
    // Work takes time: without this end the test is killed, which is right.
    while Cpu::of([me]).expect("ours").since(&before).expect("we live") < Duration::from_millis(5) {
        std::hint::black_box((0..100_000_u64).fold(0, |sum, n| std::hint::black_box(sum ^ n)));
    }
    assert!(Memory::of(me).expect("our own /proc").rss > 1024);
    assert!(tree(me).expect("our own /proc").contains(&me));
}
