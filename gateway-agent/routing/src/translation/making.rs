//! Tables, made piece by piece: each piece is taken out as it was put in, and the delta names what was touched.

use gateway_agent_tables::http::HttpService;
use gateway_agent_tables::{
    Delta, Frontend, HostPattern, ObjectName, ServicePort, SniRoutes, Split, Tables, Target, TlsListener,
    TlsService,
};

use crate::Snapshot;
use crate::bindings::{Attached, Bindings, Bound, PlaceId};
use crate::content::Content;
use crate::endpoints::Slices;
use crate::frontends::{self, PortNames};
use crate::http::{Compiled, tables as http};
use crate::place::Place;
use crate::sni::{self, Winners};
use crate::uses::Uses;

/// What tables need of Services.
#[derive(Debug, Default)]
pub(super) struct Making {
    l4: Uses<ServicePort>,
    http: Uses<HttpService>,
}

/// A listener, and what its tables are made of beside its routes.
#[derive(Debug)]
pub(super) struct Listener<'a> {
    pub(super) id: &'a PlaceId,
    pub(super) place: &'a Place,
    pub(super) client_certificate: Option<&'a ObjectName>,
    pub(super) winners: &'a Winners,
}

impl Making {
    /// The endpoints of these Services are others than before.
    pub(super) fn touch<'s>(&mut self, services: impl IntoIterator<Item = &'s ObjectName> + Clone) {
        self.l4.touch(services.clone());
        self.http.touch(services);
    }

    /// Puts an HTTP route into the tables. Those of other kinds are made with their listeners.
    pub(super) fn attach(
        &mut self,
        bound: &Bound,
        places: &[(PlaceId, Attached)],
        bindings: &Bindings,
        tables: &mut Tables,
        delta: &mut Delta,
    ) {
        let Some(compiled) = compiled(bound) else { return };
        let (name, mut served) = (bound.name(), false);
        for (id, attached) in places {
            let Some(place) = bindings.place(id) else { continue };
            let route = (&name, compiled);
            served |= http::attach(route, &attached.hosts, place, &mut tables.http, &mut delta.http);
        }
        if served {
            http::add_route(&name, compiled, &mut tables.http, &mut delta.http);
            compiled.services.iter().for_each(|(service, port_name)| self.http.add(service, port_name));
        }
    }

    /// Undoes [`Self::attach`].
    pub(super) fn detach(
        &mut self,
        bound: &Bound,
        places: &[(PlaceId, Attached)],
        bindings: &Bindings,
        tables: &mut Tables,
        delta: &mut Delta,
    ) {
        let Some(compiled) = compiled(bound) else { return };
        let (name, mut served) = (bound.name(), false);
        for (id, attached) in places {
            let Some(place) = bindings.place(id) else { continue };
            let route = (&name, compiled);
            served |= http::detach(route, &attached.hosts, place, &mut tables.http, &mut delta.http);
        }
        if served {
            http::remove_route(&name, compiled, &mut tables.http, &mut delta.http);
            compiled.services.iter().for_each(|(service, _)| self.http.remove(service));
        }
    }

    /// Makes the frontends of a listener, as its routes have them now.
    pub(super) fn make_place(
        &mut self,
        listener: &Listener<'_>,
        bindings: &Bindings,
        tables: &mut Tables,
        delta: &mut Delta,
    ) {
        let Listener { id, place, client_certificate, winners } = listener;
        let mut ports = PortNames::new();
        let frontends = frontends::of_place(id, place, bindings, &mut ports);
        let listeners = sni::of_place(place, *client_certificate, winners, bindings, &mut ports);
        for split in frontends.iter().filter_map(|(_, it)| it.split.as_ref()) {
            self.add(split, &ports);
        }
        for split in listeners.iter().flat_map(|(_, it)| splits(it)) {
            self.add(split, &ports);
        }
        for (key, frontend) in frontends {
            if tables.l4.frontends.get(&key) != Some(&frontend) {
                delta.l4.frontends.insert(key);
            }
            let former = tables.l4.frontends.insert(key, frontend);
            self.remove_frontend(former.as_ref());
        }
        let Some(hostname) = &place.hostname else { return };
        for (key, listener) in listeners {
            let of_frontend = &mut tables.tls.frontends.entry(key).or_default().listeners;
            if of_frontend.get(hostname) != Some(&listener) {
                delta.tls.frontends.insert(key);
            }
            let former = of_frontend.insert(hostname.clone(), listener);
            self.remove_listener(former.as_ref());
        }
    }

    /// Takes a listener out of all tables, once its HTTP routes are detached.
    pub(super) fn remove_place(&mut self, place: &Place, tables: &mut Tables, delta: &mut Delta) {
        http::remove_listener(place, &mut tables.http, &mut delta.http);
        for key in &place.frontends {
            if tables.l4.frontends.get(key).is_some_and(|it| it.listener == place.name) {
                self.remove_frontend(tables.l4.frontends.remove(key).as_ref());
                delta.l4.frontends.insert(*key);
            }
            let Some(frontend) = tables.tls.frontends.get_mut(key) else { continue };
            let of_place = |_: &HostPattern, it: &mut TlsListener| it.name == place.name;
            for (_, listener) in frontend.listeners.extract_if(.., of_place) {
                self.remove_listener(Some(&listener));
                delta.tls.frontends.insert(*key);
            }
            if frontend.listeners.is_empty() {
                tables.tls.frontends.remove(key);
            }
        }
    }

    /// Puts the endpoints of all Service ports into the tables that need them.
    pub(super) fn make_services(
        &mut self,
        slices: &Slices,
        snapshot: &Snapshot,
        tables: &mut Tables,
        delta: &mut Delta,
    ) {
        for key in self.l4.take_touched() {
            let set = self.l4.port_name(&key).map(|name| slices.endpoints(&key, name, snapshot));
            if tables.l4.services.get(&key) != set.as_ref() {
                delta.l4.services.insert(key.clone());
                match set {
                    Some(set) => tables.l4.services.insert(key, set),
                    None => tables.l4.services.remove(&key),
                };
            }
        }
        for key in self.http.take_touched() {
            let set = self.http.port_name(&key).map(|name| http::endpoints(&key, name, slices, snapshot));
            if tables.http.services.get(&key) != set.as_ref() {
                delta.http.services.insert(key.clone());
                match set {
                    Some(set) => tables.http.services.insert(key, set),
                    None => tables.http.services.remove(&key),
                };
            }
        }
    }

    fn add(&mut self, split: &Split, ports: &PortNames) {
        for port in ports_of(split) {
            self.l4.add(port, ports.get(port).map_or("", String::as_str));
        }
    }

    fn remove_frontend(&mut self, frontend: Option<&Frontend>) {
        let splits = frontend.into_iter().filter_map(|frontend| frontend.split.as_ref());
        splits.flat_map(ports_of).for_each(|port| self.l4.remove(port));
    }

    fn remove_listener(&mut self, listener: Option<&TlsListener>) {
        let splits = listener.into_iter().flat_map(splits);
        splits.flat_map(ports_of).for_each(|port| self.l4.remove(port));
    }
}

fn compiled(bound: &Bound) -> Option<&Compiled> {
    match &bound.content {
        Some((Content::Http(compiled), _)) => Some(compiled),
        _ => None,
    }
}

fn splits(listener: &TlsListener) -> impl Iterator<Item = &Split> {
    let routes = match &listener.service {
        TlsService::Passthrough(routes) | TlsService::Terminate(_, routes) => Some(routes),
        TlsService::Https(_) => None,
    };
    routes.into_iter().flat_map(|SniRoutes(routes)| routes.values())
}

fn ports_of(split: &Split) -> impl Iterator<Item = &ServicePort> {
    split.backends().iter().filter_map(|backend| match &backend.target {
        Target::Service(port) => Some(port),
        Target::Refuse(_) => None,
    })
}
