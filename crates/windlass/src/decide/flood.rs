//! Which due jobs come into line when more are due than should stand there. Pure: stores ask when they promote.
//! A line here is what a store keeps in one order: the jobs of one queue, kind and priority, or, where a store cannot
//! tell those apart, of one queue.

/// A job that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Due {
    /// When it was, in microseconds.
    pub(crate) at: i64,
    /// Its place in the order of enqueueing, or what else tells it from others that are due at the same time.
    pub(crate) seq: i64,
    /// Its line.
    pub(crate) line: usize,
}

/// A line with jobs that are due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DueLine {
    /// Its queue.
    pub(crate) queue: usize,
    /// How many more jobs may come into it.
    pub(crate) room: u32,
}

/// What one line may hold of a look-ahead that the lines with due jobs of a queue share. None is left out.
pub(crate) fn share(look_ahead: u32, lines: usize) -> u32 {
    let lines = u32::try_from(lines).unwrap_or(u32::MAX).max(1);
    if look_ahead == u32::MAX { u32::MAX } else { look_ahead.div_ceil(lines).max(1) }
}

/// Chooses up to `limit` jobs, the earliest first: as many of each line as it has room for. What a queue gets that way
/// counts against what it may have `beyond`; if that is more, the earliest of those that are left come in, too.
pub(crate) fn choose(mut due: Vec<Due>, lines: &[DueLine], beyond: &[u32], limit: u32) -> Vec<Due> {
    due.sort_unstable();
    let mut room: Vec<u32> = lines.iter().map(|line| line.room).collect();
    let mut beyond = beyond.to_vec();
    let mut left = limit;
    let (mut chosen, over): (Vec<Due>, Vec<Due>) = due.into_iter().partition(|job| {
        let room = &mut room[job.line];
        let comes = left > 0 && *room > 0;
        if comes {
            let beyond = &mut beyond[lines[job.line].queue];
            *beyond = beyond.saturating_sub(1);
            *room -= 1;
            left -= 1;
        }
        comes
    });
    for job in over {
        let beyond = &mut beyond[lines[job.line].queue];
        if left > 0 && *beyond > 0 {
            *beyond -= 1;
            left -= 1;
            chosen.push(job);
        }
    }
    chosen.sort_unstable();
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(line: usize, times: impl IntoIterator<Item = i64>) -> Vec<Due> {
        times.into_iter().map(|at| Due { at, seq: at, line }).collect()
    }

    fn times(chosen: &[Due], line: usize) -> Vec<i64> {
        chosen.iter().filter(|job| job.line == line).map(|job| job.at).collect()
    }

    #[test]
    fn the_earliest_of_each_line_come_in_as_far_as_it_has_room() {
        let lines = [DueLine { queue: 0, room: 3 }, DueLine { queue: 1, room: 9 }];
        let jobs = [due(0, 1..100), due(1, 200..204)].concat();
        let chosen = choose(jobs, &lines, &[0, 0], 500);
        assert_eq!((times(&chosen, 0), times(&chosen, 1)), (vec![1, 2, 3], vec![200, 201, 202, 203]));
    }

    #[test]
    fn the_limit_goes_to_the_earliest_of_all() {
        let lines = [DueLine { queue: 0, room: 9 }, DueLine { queue: 1, room: 9 }];
        let chosen = choose([due(0, [1, 4, 5]), due(1, [2, 3])].concat(), &lines, &[0, 0], 4);
        assert_eq!((times(&chosen, 0), times(&chosen, 1)), (vec![1, 4], vec![2, 3]));
    }

    #[test]
    fn a_full_line_gets_what_its_queue_may_have_beyond() {
        let lines = [DueLine { queue: 0, room: 0 }, DueLine { queue: 1, room: 0 }];
        let chosen = choose([due(0, 1..9), due(1, 1..9)].concat(), &lines, &[0, 3], 500);
        assert_eq!((times(&chosen, 0), times(&chosen, 1)), (vec![], vec![1, 2, 3]));
    }

    #[test]
    fn what_comes_in_by_room_counts_against_what_comes_in_beyond() {
        let lines = [DueLine { queue: 0, room: 0 }, DueLine { queue: 0, room: 2 }];
        let jobs = || [due(0, 1..9), due(1, 11..19)].concat();
        let chosen = |beyond| choose(jobs(), &lines, &[beyond], 500);
        assert_eq!((times(&chosen(2), 0), times(&chosen(2), 1)), (vec![], vec![11, 12]));
        assert_eq!((times(&chosen(5), 0), times(&chosen(5), 1)), (vec![1, 2, 3], vec![11, 12]));
    }

    #[test]
    fn a_look_ahead_is_shared_and_none_is_left_without_a_part() {
        assert_eq!((share(200, 1), share(200, 3), share(200, 500), share(200, 0)), (200, 67, 1, 200));
        assert_eq!(share(u32::MAX, 7), u32::MAX, "no look-ahead at all is none for each");
    }
}
