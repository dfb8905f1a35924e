use crate::compare::machine::*;

#[test]
fn lists_of_cpus_are_read() {
    assert_eq!(cpu_list("\t0-1\n"), Some(vec![0, 1]));
    assert_eq!(cpu_list("3,5-7"), Some(vec![3, 5, 6, 7]));
    assert_eq!(cpu_list("all"), None);
}
