//! The maps `rings` and `maglev`: a Maglev ring for each Service port and family, shared by all routes.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use aya::maps::MapError;
use gateway_agent_tables::{EndpointSet, L4Tables, ServicePort, Split, Target};
use gateway_common::maps::{LabelKind, Ring};

use crate::apply::{ApplyProblem, ApplyReport};
use crate::endpoints::{self, Endpoints};
use crate::ids::Ids;
use crate::labels::{self, RingLabel};
use crate::maglev::{ring, ring_length, shorter_length};
use crate::mmap::Words;
use crate::regions::{Region, Regions};
use crate::retired::Retired;
use crate::store::Store;
use crate::sys;

#[derive(Debug)]
pub(crate) struct Rings {
    ids: Ids,
    regions: Regions,
    known: HashMap<ServicePort, Known>,
    retired_regions: Retired<Region>,
    retired_ids: Retired<u32>,
}

#[derive(Debug)]
struct Known {
    id: u32,
    region: Region,
    /// By address; None: an earlier agent wrote the ring.
    members: Option<Vec<Member>>,
}

/// An endpoint's address and id.
type Member = (SocketAddr, u32);

impl Rings {
    /// What an earlier agent left. Labels without a sound ring are removed.
    pub(crate) fn recover(store: &mut Store) -> Result<Self, MapError> {
        let mut regions = Regions::new(entries(&store.maglev));
        let mut known = HashMap::new();
        for (id, label) in labels::read::<RingLabel>(&store.labels, LabelKind::Ring)? {
            let region = store.rings.get(id as usize).map(region_of);
            let service = label.map(ServicePort::from).filter(|service| !known.contains_key(service));
            match (service, region) {
                (Some(service), Some(region)) if regions.take(region) => {
                    known.insert(service, Known { id, region, members: None });
                }
                _ => labels::remove(&mut store.labels, LabelKind::Ring, id)?,
            }
        }
        let ids = Ids::recover(entries(&store.rings), known.values().map(|k| k.id));
        Ok(Self { ids, regions, known, retired_regions: Retired::default(), retired_ids: Retired::default() })
    }

    pub(crate) fn id(&self, service: &ServicePort) -> Option<u32> {
        self.known.get(service).map(|known| known.id)
    }

    pub(crate) fn services(&self) -> impl Iterator<Item = &ServicePort> {
        self.known.keys()
    }

    /// Makes and switches the rings of these Service ports, as far as the tables have them or splits name them.
    pub(crate) fn write(
        &mut self,
        store: &mut Store,
        tables: &L4Tables,
        services: &BTreeSet<ServicePort>,
        endpoints: &Endpoints,
        report: &mut ApplyReport,
    ) {
        let (empty, unlisted) = (EndpointSet::default(), unlisted(tables, services));
        for service in services {
            let nobody = || unlisted.contains(service).then_some(&empty);
            let Some(set) = tables.services.get(service).or_else(nobody) else { continue };
            if let Some(id) = self.id_or_new(store, service, report) {
                self.update(store, service, id, members(service, set, endpoints), report);
            }
        }
    }

    /// Retires those of these rings that the tables don't name.
    pub(crate) fn retire(
        &mut self,
        store: &mut Store,
        tables: &L4Tables,
        services: &BTreeSet<ServicePort>,
        report: &mut ApplyReport,
    ) {
        let unlisted = unlisted(tables, services);
        let unused = |it: &&ServicePort| !tables.services.contains_key(*it) && !unlisted.contains(*it);
        for service in services.iter().filter(unused) {
            let Some(known) = self.known.remove(service) else { continue };
            report.wrote("labels", service, labels::remove(&mut store.labels, LabelKind::Ring, known.id));
            self.retired_ids.push(known.id);
            self.retired_regions.push(known.region);
        }
    }

    pub(crate) fn has_retired(&self) -> bool {
        !self.retired_ids.is_empty() || !self.retired_regions.is_empty()
    }

    /// As [`Retired::begin`].
    pub(crate) fn begin_release(&mut self) -> bool {
        self.retired_ids.begin() | self.retired_regions.begin()
    }

    /// When every program that may have read them has finished.
    pub(crate) fn release(&mut self, report: &mut ApplyReport) {
        for id in self.retired_ids.release() {
            self.ids.free(id);
            report.freed();
        }
        for region in self.retired_regions.release() {
            self.regions.free(region);
            report.freed();
        }
    }

    fn id_or_new(
        &mut self,
        store: &mut Store,
        service: &ServicePort,
        report: &mut ApplyReport,
    ) -> Option<u32> {
        if let Some(known) = self.known.get(service) {
            return Some(known.id);
        }
        let Some(id) = self.ids.allocate() else {
            let capacity = self.ids.capacity();
            report.problem(ApplyProblem::ServicesFull { service: service.clone(), capacity });
            return None;
        };
        let label = RingLabel::from(service);
        store.rings[id as usize].store(ring_of(Region::default()), Ordering::Release);
        let written = labels::write(&mut store.labels, LabelKind::Ring, id, &label);
        if !report.wrote("labels", service, written) {
            self.ids.free(id);
            return None;
        }
        self.known
            .insert(service.clone(), Known { id, region: Region::default(), members: Some(Vec::new()) });
        Some(id)
    }

    fn update(
        &mut self,
        store: &mut Store,
        service: &ServicePort,
        id: u32,
        members: Vec<Member>,
        report: &mut ApplyReport,
    ) {
        let Some(known) = self.known.get_mut(service) else { return };
        let length = ring_length(members.len());
        if known.members.is_none() && holds(&store.maglev, known.region, &places(&members, known.region.len))
        {
            known.members = Some(members.clone());
        }
        let current = known.members.as_ref() == Some(&members);
        if current && known.region.len == length {
            return;
        }
        let region = allocate(&mut self.regions, &mut self.retired_regions, length);
        if region.is_none() {
            let capacity = self.regions.capacity();
            report.problem(ApplyProblem::RingPlacesFull {
                service: service.clone(),
                needed: length,
                capacity,
            });
            if current {
                return;
            }
        }
        let region = region.unwrap_or_else(|| shorter_region(&mut self.regions, length, members.len()));
        for (word, id) in store.maglev[region.offset as usize..].iter().zip(places(&members, region.len)) {
            word.store(u64::from(id), Ordering::Relaxed);
        }
        // After the places, in one store: a program sees the former ring or this one.
        store.rings[id as usize].store(ring_of(region), Ordering::Release);
        report.changes += 1;
        self.retired_regions.push(std::mem::replace(&mut known.region, region));
        known.members = Some(members);
    }
}

/// Waits for what is about to be free if there is no room: a ring comes rather late than shorter.
fn allocate(regions: &mut Regions, retired: &mut Retired<Region>, length: u32) -> Option<Region> {
    let region = regions.allocate(length);
    if region.is_some() || !retired.begin() {
        return region;
    }
    sys::wait_for_programs();
    retired.release().for_each(|region| regions.free(region));
    regions.allocate(length)
}

/// The longest region that is free, at least one place for each endpoint; else none, so that newcomers are refused
/// rather than sent to endpoints that are no longer its own.
fn shorter_region(regions: &mut Regions, mut length: u32, endpoints: usize) -> Region {
    while let Some(shorter) = shorter_length(length, endpoints) {
        if let Some(region) = regions.allocate(shorter) {
            return region;
        }
        length = shorter;
    }
    Region::default()
}

/// Those of these Service ports that splits name although the tables have no endpoints for them.
fn unlisted<'t>(tables: &'t L4Tables, services: &BTreeSet<ServicePort>) -> HashSet<&'t ServicePort> {
    if services.iter().all(|service| tables.services.contains_key(service)) {
        return HashSet::new();
    }
    let named = tables.frontends.values().flat_map(|frontend| targets(frontend.split.as_ref()));
    named.filter(|service| !tables.services.contains_key(service)).collect()
}

/// Service ports that a split sends newcomers to.
pub(crate) fn targets(split: Option<&Split>) -> impl Iterator<Item = &ServicePort> {
    split.into_iter().flat_map(Split::backends).filter_map(|backend| match &backend.target {
        Target::Service(service) => Some(service),
        Target::Refuse(_) => None,
    })
}

/// Sorted by address, so that all nodes make the same ring. Those without an id are left out; that is reported.
fn members(service: &ServicePort, set: &EndpointSet, endpoints: &Endpoints) -> Vec<Member> {
    let keys = set.ready.iter().map(|endpoint| endpoints::key(service, endpoint));
    let mut members: Vec<Member> = keys.filter_map(|key| Some((key.1, endpoints.id(&key)?))).collect();
    members.sort_unstable();
    members.dedup();
    members
}

/// The endpoint id of each place.
fn places(members: &[Member], length: u32) -> Vec<u32> {
    let addresses: Vec<_> = members.iter().map(|(address, _)| *address).collect();
    ring(&addresses, length).into_iter().map(|index| members[index as usize].1).collect()
}

fn holds(maglev: &Words, region: Region, places: &[u32]) -> bool {
    let words = &maglev[region.offset as usize..][..region.len as usize];
    words.len() == places.len()
        && words.iter().zip(places).all(|(word, id)| word.load(Ordering::Relaxed) == u64::from(*id))
}

fn ring_of(region: Region) -> Ring {
    u64::from(region.offset) | u64::from(region.len) << 32
}

fn entries(words: &Words) -> u32 {
    u32::try_from(words.len()).unwrap_or(u32::MAX)
}

/// Splits the word into its halves.
#[expect(clippy::cast_possible_truncation)]
pub(crate) fn region_of(ring: &AtomicU64) -> Region {
    let ring: Ring = ring.load(Ordering::Relaxed);
    Region { offset: ring as u32, len: (ring >> 32) as u32 }
}
