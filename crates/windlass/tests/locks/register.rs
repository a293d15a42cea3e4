//! The resource that a lock protects: a register that takes writes with rising fences alone. Contenders hold the lock, are
//! frozen, killed, cut off and started again, clocks are set, and they write without asking whether their lock is lost,
//! as real programs do between two looks. With the check of the fence no two of them are ever mixed up; without it they
//! are, or the test would prove nothing.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use windlass::{
    Client, Env, Fence,
    testing::{Faults, World},
};

use crate::{Place, SECOND, TTL};

/// How many runs.
const SEEDS: u64 = 150;
/// How many writes make a critical section.
const WRITES: u32 = 5;

struct Register {
    checks: bool,
    highest: Mutex<Fence>,
    /// The fence of each write that was taken, in order.
    taken: Mutex<Vec<Fence>>,
    refused: Mutex<u32>,
}

impl Register {
    /// Takes a write, unless somebody with a higher fence has been here.
    fn write(&self, fence: Fence) -> bool {
        let mut highest = self.highest.lock().unwrap();
        if self.checks && fence < *highest {
            *self.refused.lock().unwrap() += 1;
            return false;
        }
        *highest = fence.max(*highest);
        self.taken.lock().unwrap().push(fence);
        true
    }

    /// Whether somebody wrote after one who came later had written.
    fn is_mixed_up(&self) -> bool {
        !self.taken.lock().unwrap().is_sorted()
    }

    fn sections(&self) -> usize {
        let taken = self.taken.lock().unwrap();
        taken.chunk_by(|one, two| one == two).count()
    }
}

/// Takes the lock over and over, and writes under it with pauses.
async fn contend(client: Client, register: Arc<Register>) {
    let env: Env = client.env().clone();
    loop {
        let Ok(guard) = client.lock("register", TTL).acquire().await else { continue };
        for _ in 0..WRITES {
            env.sleep(env.jittered(SECOND)).await;
            if !register.write(guard.fence()) {
                break;
            }
        }
        // Sometimes given back, sometimes dropped.
        if env.random().is_multiple_of(2) {
            drop(guard.release().await);
        }
    }
}

/// One run: how many sections, how many refused writes, whether any were mixed up.
fn run(seed: u64, checks: bool) -> (usize, u32, bool) {
    World::run(seed, async |world| {
        let place = Place::new(&world);
        let register = Arc::new(Register {
            checks,
            highest: Mutex::new(Fence(0)),
            taken: Mutex::default(),
            refused: Mutex::default(),
        });
        place.network.set_faults(Faults {
            lost_requests: 20,
            lost_replies: 20,
            delay: SECOND / 20,
            delayed: 10,
            long_delay: 2 * TTL,
            timeout: SECOND,
        });
        let start = |number: u64| {
            let process = world.process(format!("contender {number}"));
            let (client, way) = place.client(process.env());
            process.env().spawn(contend(client, register.clone()));
            (process, way)
        };
        let mut contenders: Vec<_> = (0..4).map(start).collect();
        let chance = world.env();
        for step in 0..40 {
            chance.sleep(chance.jittered(4 * SECOND)).await;
            let at = (chance.random() % 4) as usize;
            let (process, way) = &contenders[at];
            match chance.random() % 6 {
                0 | 1 if process.is_frozen() => process.thaw(),
                0 | 1 => process.freeze(),
                2 => {
                    process.kill();
                    contenders[at] = start(100 + step);
                }
                3 => way.set_cut(chance.random().is_multiple_of(2)),
                4 => world.step_wall(if chance.random().is_multiple_of(2) { 7_200_000_000 } else { -7_200_000_000 }),
                _ => contenders.iter().for_each(|(process, _)| process.thaw()),
            }
        }
        contenders.iter().for_each(|(process, way)| {
            process.thaw();
            way.set_cut(false);
        });
        chance.sleep(Duration::from_secs(30)).await;
        let refused = *register.refused.lock().unwrap();
        (register.sections(), refused, register.is_mixed_up())
    })
}

#[test]
fn with_fences_no_two_holders_are_mixed_up() {
    let (mut sections, mut refused) = (0, 0);
    for seed in 0..SEEDS {
        let (done, late, mixed_up) = run(seed, true);
        assert!(!mixed_up, "seed {seed}");
        assert!(done > 5, "seed {seed}: only {done} sections; who stopped hands the lock on");
        sections += done;
        refused += late;
    }
    println!("{SEEDS} seeds, {sections} sections, {refused} late writes refused");
    assert!(refused > 20, "only {refused} writes came late: the check was never needed");
}

#[test]
fn without_the_check_they_are() {
    let mixed_up = (0..SEEDS).filter(|seed| run(*seed, false).2).count();
    println!("{mixed_up} of {SEEDS} seeds are mixed up");
    assert!(mixed_up > 10, "{mixed_up}");
}
