use proptest::prelude::*;

use super::*;

#[test]
fn what_is_beyond_ones_own_is_borrowed_and_given_back() {
    let pool = Pool::of(100);
    let mut budget = Budget::backed(1000, 10, &pool);
    assert_eq!(budget.left(), 110);
    budget.take(10);
    assert_eq!(pool.left(), 100);
    budget.take(60);
    assert_eq!((pool.left(), budget.left()), (40, 40));
    budget.give_back(50);
    assert_eq!((pool.left(), budget.left()), (90, 90));
    budget.take(20);
    drop(budget);
    assert_eq!(pool.left(), 100);
}

#[test]
fn an_empty_pool_leaves_everybody_their_own() {
    let pool = Pool::of(100);
    let all = pool.lend(100).unwrap();
    assert!(pool.lend(1).is_none());
    let mut budget = Budget::backed(1000, 10, &pool);
    assert_eq!(budget.left(), 10);
    budget.take(15);
    assert_eq!(budget.left(), 0);
    budget.give_back(15);
    assert_eq!(budget.left(), 10);
    drop(all);
    assert_eq!((pool.left(), budget.left()), (100, 110));
}

proptest! {
    /// Whatever is taken and given back, in whatever order, the pool has all again in the end, and never more.
    #[test]
    fn nothing_of_the_pool_is_lost(steps in proptest::collection::vec((0..3_usize, 0..2_usize, 1..80_usize), 1..200)) {
        let pool = Pool::of(100);
        let mut budgets: Vec<Budget> = (0..3).map(|_| Budget::backed(120, 10, &pool)).collect();
        for (which, way, amount) in steps {
            let budget = &mut budgets[which];
            match way {
                0 if budget.left() > 0 => budget.take(amount.min(budget.left())),
                _ => budget.give_back(amount.min(budget.used())),
            }
            let borrowed: usize = budgets.iter().map(|budget| budget.used().saturating_sub(10)).sum();
            prop_assert_eq!(pool.left() + borrowed, 100);
        }
        drop(budgets);
        prop_assert_eq!(pool.left(), 100);
    }
}
