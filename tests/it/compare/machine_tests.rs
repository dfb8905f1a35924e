use crate::compare::machine::*;

#[test]
fn lists_of_cpus_are_read() {
    assert_eq!(cpu_list("\t0-1\n"), Some(vec![0, 1]));
    assert_eq!(cpu_list("3,5-7"), Some(vec![3, 5, 6, 7]));
    assert_eq!(cpu_list("all"), None);
}

#[test]
fn a_session_takes_two_files_and_no_limit_makes_more_of_them_than_there_are_devices() {
    let limits =
        |hard: &str| format!("Limit Soft Hard Units\nMax open files            1024   {hard}   files\n");
    assert_eq!(room(&limits("20000")), (20_000 - 700) / 2);
    assert_eq!(room(&limits("100")), 0);
    assert!(room(&limits("unlimited")) > 100_000);
    assert!(sessions(16) <= 16);
}
