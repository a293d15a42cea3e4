//! What the demo enqueues, and what it expects to come of it: which jobs are to end dead, and how many mails follow
//! from pictures. A pure function of the number of jobs and the pictures, so that the account at the end has
//! something to be held against.

use windlass::{Client, Enqueued, Error, Job, JobId, With};

use super::{
    email::SendEmail,
    faults::{self, Fault},
    image::ProcessImage,
};

/// Every set begins with the thumbnail, which is made in any case.
const FILTER_SETS: [&[&str]; 8] = [
    &["thumbnail"],
    &["thumbnail", "grayscale"],
    &["thumbnail", "sepia"],
    &["thumbnail", "blur"],
    &["thumbnail", "sharpen", "rotate"],
    &["thumbnail", "invert"],
    &["thumbnail", "grayscale", "sharpen"],
    &["thumbnail", "sepia", "blur"],
];

/// The filter that does not exist.
const UNKNOWN_FILTER: &str = "sparkle";

const PEOPLE: [&str; 6] = ["ada", "grace", "alan", "edsger", "barbara", "donald"];

/// How a job is expected to end dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doom {
    /// Buried at once: the filter does not exist.
    UnknownFilter,
    /// Out of attempts: the mailbox stays full.
    FullMailbox,
}

impl Doom {
    pub(super) const fn reason(self) -> &'static str {
        match self {
            Doom::UnknownFilter => "buried",
            Doom::FullMailbox => "exhausted",
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct PlannedImage {
    pub(super) job: ProcessImage,
    pub(super) fault: Option<Fault>,
    pub(super) doom: Option<Doom>,
}

#[derive(Clone, Debug)]
pub(super) struct PlannedMail {
    pub(super) job: SendEmail,
    pub(super) fault: Option<Fault>,
    pub(super) doom: Option<Doom>,
    /// Due two seconds later.
    pub(super) later: bool,
}

/// All jobs but those that follow from others, and the report.
#[derive(Clone, Debug, Default)]
pub(super) struct Plan {
    pub(super) images: Vec<PlannedImage>,
    pub(super) mails: Vec<PlannedMail>,
    /// How many images send a mail when they are done.
    pub(super) follow_ups: usize,
}

/// The smallest number of jobs, at least 60, that uses every picture at least once.
pub(super) fn default_jobs(pictures: usize) -> usize {
    (60..=100_000).find(|jobs| shares(*jobs).0 >= pictures).unwrap_or(100_000)
}

/// How many images, mails of their own and mails after an image make `jobs` together with the report.
fn shares(jobs: usize) -> (usize, usize, usize) {
    let others = jobs.saturating_sub(1);
    let mails = others / 6;
    let follow_ups = (others - mails) * 2 / 5;
    (others - mails - follow_ups, mails, follow_ups)
}

/// Plans `jobs` jobs in all, the report among them.
pub(super) fn plan(jobs: usize, pictures: &[String]) -> Plan {
    let (images, mails, follow_ups) = shares(jobs);
    let mut plan = Plan { follow_ups, ..Plan::default() };
    let mut to_notify = follow_ups;
    for at in 0..images {
        let doom = (at == 1).then_some(Doom::UnknownFilter);
        // A doomed image sends no mail; the others share the mails evenly.
        let left = images - at;
        let notify = doom.is_none() && (to_notify * 2 > left || (to_notify > 0 && at % 2 == 0));
        to_notify -= usize::from(notify);
        plan.images.push(image(at, notify, doom, pictures));
    }
    plan.mails = (0..mails).map(|at| mail(at, mails)).collect();
    plan
}

fn image(at: usize, notify: bool, doom: Option<Doom>, pictures: &[String]) -> PlannedImage {
    let set = FILTER_SETS[at / pictures.len() % FILTER_SETS.len()];
    let mut filters: Vec<String> = set.iter().map(|name| (*name).to_owned()).collect();
    if doom.is_some() {
        filters.push(UNKNOWN_FILTER.to_owned());
    }
    let fault = match at {
        1 => None,
        2 => Some(Fault::Panic { attempts: 1 }),
        _ if at % 9 == 5 => Some(Fault::Error { attempts: 1 }),
        _ => None,
    };
    let notify_to = notify.then(|| address(at));
    PlannedImage {
        job: ProcessImage { image_url: pictures[at % pictures.len()].clone(), filters, notify_to },
        fault,
        doom,
    }
}

fn mail(at: usize, mails: usize) -> PlannedMail {
    let person = PEOPLE[at % PEOPLE.len()];
    let last = at + 1 == mails && mails > 2;
    let (subject, body) = match last {
        true => ("A reminder".to_owned(), "This mail was due two seconds after it was enqueued.".to_owned()),
        false => (format!("Welcome, {person}"), "Your account is ready. Send us a picture!".to_owned()),
    };
    let (fault, doom) = match at {
        0 if mails > 1 => (Some(Fault::Error { attempts: u32::MAX }), Some(Doom::FullMailbox)),
        1 => (Some(Fault::Error { attempts: 2 }), None),
        _ => (None, None),
    };
    let job = SendEmail { to: address(at), subject, body, attachments: Vec::new() };
    PlannedMail { job, fault, doom, later: last }
}

fn address(at: usize) -> String {
    format!("{}@example.com", PEOPLE[at % PEOPLE.len()])
}

/// What was enqueued: the ids, and which of them are to end dead, and how.
#[derive(Clone, Debug, Default)]
pub(super) struct Started {
    pub(super) ids: Vec<JobId>,
    pub(super) doomed: Vec<(JobId, Doom)>,
}

impl Plan {
    /// Enqueues it all, in two bulk calls.
    pub(super) async fn enqueue(&self, client: &Client) -> Result<Started, Error> {
        let images = client.enqueue_all(self.images.iter().map(PlannedImage::with_options)).await?;
        let mails = client.enqueue_all(self.mails.iter().map(PlannedMail::with_options)).await?;
        let ids: Vec<JobId> = images.iter().chain(&mails).map(Enqueued::id).cloned().collect();
        let dooms = self.images.iter().map(|image| image.doom).chain(self.mails.iter().map(|mail| mail.doom));
        let doomed = ids.iter().zip(dooms).filter_map(|(id, doom)| Some((id.clone(), doom?))).collect();
        Ok(Started { ids, doomed })
    }

    /// How many jobs there will be without the report, if every image that has a mail to send ends well.
    pub(super) fn len(&self) -> usize {
        self.images.len() + self.mails.len() + self.follow_ups
    }
}

impl PlannedImage {
    fn with_options(&self) -> With<ProcessImage> {
        let fault = self.fault;
        self.job.clone().with(|options| match fault {
            Some(fault) => options.header(faults::HEADER, fault.header()),
            None => options,
        })
    }
}

impl PlannedMail {
    fn with_options(&self) -> With<SendEmail> {
        let (fault, doom, later) = (self.fault, self.doom, self.later);
        self.job.clone().with(|mut options| {
            if let Some(fault) = fault {
                options = options.header(faults::HEADER, fault.header());
            }
            if doom.is_some() {
                options = options.max_retry(2);
            }
            if later { options.process_in(std::time::Duration::from_secs(2)) } else { options }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pictures(count: usize) -> Vec<String> {
        (0..count).map(|at| format!("photo:{at}.jpg")).collect()
    }

    #[test]
    fn a_plan_has_exactly_the_jobs_that_were_asked_for() {
        for jobs in 1..300 {
            let plan = plan(jobs, &pictures(5));
            assert_eq!(plan.len() + 1, jobs);
            let notified = plan.images.iter().filter(|image| image.job.notify_to.is_some()).count();
            assert_eq!(notified, plan.follow_ups, "{jobs} jobs");
            assert!(plan.images.iter().all(|image| image.doom.is_none() || image.job.notify_to.is_none()));
        }
    }

    #[test]
    fn the_usual_plan_has_every_mishap() {
        let plan = plan(60, &pictures(5));
        let faults: Vec<_> = plan.images.iter().filter_map(|image| image.fault).collect();
        assert!(faults.contains(&Fault::Panic { attempts: 1 }) && faults.contains(&Fault::Error { attempts: 1 }));
        assert_eq!(plan.images.iter().filter(|image| image.doom == Some(Doom::UnknownFilter)).count(), 1);
        assert_eq!(plan.mails.iter().filter(|mail| mail.doom == Some(Doom::FullMailbox)).count(), 1);
        assert_eq!(plan.mails.iter().filter(|mail| mail.later).count(), 1);
    }

    #[test]
    fn every_picture_is_used_by_default() {
        assert_eq!(default_jobs(5), 60);
        let jobs = default_jobs(200);
        let plan = plan(jobs, &pictures(200));
        let used: std::collections::HashSet<_> = plan.images.iter().map(|image| &image.job.image_url).collect();
        assert_eq!(used.len(), 200);
    }
}
