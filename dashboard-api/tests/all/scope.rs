//! Who may do what, and who sees whom: every route with every role, and records on either side of a border.
//!
//! The table below is written from the contract's rows, not from the code's table; a route that is missing here fails.

use crate::common::{PASSWORD, World, pressure};
use serde_json::{Value, json};
use std::collections::HashMap;
use vitals::Unit;

const ROLES: [&str; 9] =
    ["gp", "health_manager", "specialist", "assistant", "station_admin", "region_admin", "ops", "auditor", "patient"];

/// Letters of a row: g gp, h health_manager, s specialist, a assistant, S station_admin, R region_admin, o ops,
/// u auditor, p patient; `*` no login needed.
fn allowed(method: &str, path: &str) -> &'static str {
    match (method, path) {
        ("get", "/livez" | "/readyz" | "/metrics" | "/api/openapi.json" | "/api/docs") => "*",
        (_, "/test/clock" | "/api/v1/a/{token}") | ("post", "/api/v1/session") => "*",
        (_, "/api/v1/session" | "/api/v1/session/password") => "ghsaSRoup",
        (
            "get",
            "/api/v1/organisations"
            | "/api/v1/organisations/{id}"
            | "/api/v1/users"
            | "/api/v1/users/{id}"
            | "/api/v1/teams"
            | "/api/v1/teams/{id}"
            | "/api/v1/on-call"
            | "/api/v1/leave"
            | "/api/v1/overrides"
            | "/api/v1/rotas"
            | "/api/v1/calendars"
            | "/api/v1/reports/alerts"
            | "/api/v1/reports/population",
        ) => "ghsaSR",
        (
            _,
            "/api/v1/organisations"
            | "/api/v1/organisations/{id}"
            | "/api/v1/users"
            | "/api/v1/users/{id}"
            | "/api/v1/teams"
            | "/api/v1/teams/{id}"
            | "/api/v1/leave"
            | "/api/v1/overrides"
            | "/api/v1/rotas"
            | "/api/v1/calendars"
            | "/api/v1/import",
        ) => "SR",
        (
            "get",
            "/api/v1/patients"
            | "/api/v1/patients/{id}"
            | "/api/v1/patients/{id}/plan"
            | "/api/v1/patients/{id}/readings"
            | "/api/v1/patients/{id}/summary"
            | "/api/v1/patients/{id}/findings"
            | "/api/v1/readings/{id}/original",
        ) => "ghsaSRp",
        (_, "/api/v1/patients" | "/api/v1/patients/{id}" | "/api/v1/patients/{id}/plan") => "ghSR",
        (_, "/api/v1/patients/{id}/erase") => "R",
        ("get", "/api/v1/devices" | "/api/v1/devices/{id}") => "ghsaSRo",
        (_, "/api/v1/devices/claim") => "p",
        (_, "/api/v1/devices/{id}/commands") => "ghaSRo",
        (_, "/api/v1/devices" | "/api/v1/devices/{id}/credential" | "/api/v1/devices/{id}/certificate") => "aSRo",
        ("get", "/api/v1/devices/{id}/bindings") => "ghsaSR",
        (_, "/api/v1/devices/{id}/bindings" | "/api/v1/devices/{id}/bindings/{bid}") => "ghaSR",
        (_, "/api/v1/unassigned" | "/api/v1/unassigned/{id}/assign") => "ghSR",
        (_, "/api/v1/quarantine" | "/api/v1/quarantine/{id}/discard" | "/api/v1/quarantine/{id}/replay") => "ghSRo",
        (_, "/api/v1/kiosks/{id}/sessions") => "ghaSR",
        (_, "/api/v1/gateways/{id}/devices") => "aSRo",
        (_, "/api/v1/alerts" | "/api/v1/alerts/{id}" | "/api/v1/alerts/{id}/{action}" | "/api/v1/alerts:bulk") => {
            "ghsaSR"
        }
        ("get", "/api/v1/deliveries" | "/api/v1/ops/pipeline") | ("post", "/api/v1/deliveries/{id}/retry") => "o",
        ("get", "/api/v1/rules" | "/api/v1/rules/{id}" | "/api/v1/ops/trail/{id}") => "ghsaSRo",
        ("put", "/api/v1/rules/{id}") | ("post", "/api/v1/rules/{id}/withdraw") => "gsSR",
        ("post", "/api/v1/rules/{id}/approve" | "/api/v1/rules/{id}/rollback") => "sSR",
        ("post", "/api/v1/rules:rehearse") => "ghsSR",
        ("get", "/api/v1/stream") => "ghsaSRop",
        ("get", "/api/v1/audit") => "u", // and the installation's first administrator
        other => panic!("no row for {other:?}"),
    }
}

const fn letter(role: &str) -> char {
    match role.as_bytes() {
        b"gp" => 'g',
        b"health_manager" => 'h',
        b"specialist" => 's',
        b"assistant" => 'a',
        b"station_admin" => 'S',
        b"region_admin" => 'R',
        b"ops" => 'o',
        b"auditor" => 'u',
        _ => 'p',
    }
}

async fn tokens(world: &World, tag: &str) -> HashMap<&'static str, String> {
    let mut tokens = HashMap::new();
    for role in ROLES {
        tokens.insert(role, world.login(&format!("{role}-{tag}"), PASSWORD).await);
    }
    tokens
}

#[tokio::test]
async fn every_route_is_for_exactly_the_roles_of_the_contract() {
    let world = World::new().await;
    world.district("1").await;
    let tokens = tokens(&world, "1").await;
    let document: Value = serde_json::from_str(&dashboard_api::openapi_json()).unwrap();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            let row = allowed(method, path);
            // Records that do not exist: whoever may call the route hears 404 or 4xx, nobody else gets that far.
            let real = path.replace("{id}", "x").replace("{bid}", "x").replace("{action}", "x").replace("{token}", "x");
            let verb = method.to_uppercase();
            let nobody = world.call(&verb, &real, Value::Null, "", &[]).await.status.as_u16();
            assert_eq!(
                nobody == 401,
                !row.contains('*') || path == "/api/v1/session" && method == "post" && nobody == 401,
                "{verb} {path}: {nobody}"
            );
            if row.contains('*') || path == "/api/v1/session" || path == "/api/v1/stream" {
                continue; // the stream never ends; its roles are below
            }
            for role in ROLES {
                let status = world.call(&verb, &real, Value::Null, &tokens[role], &[]).await.status.as_u16();
                assert_eq!(status != 403, row.contains(letter(role)), "{verb} {path} as {role}: {status}");
            }
        }
    }
    world.get("/api/v1/stream", &tokens["auditor"]).await.problem(403);
    world.get("/api/v1/audit", &world.admin).await.must(200);
}

#[tokio::test]
async fn another_teams_patient_does_not_exist() {
    let world = World::new().await;
    let (one, two) = (world.district("1").await, world.district("2").await);
    let patient = &one["patient-record"];
    world.keep("d-1", Some(patient), 1, pressure("141", "91"), Unit::MmHg).await;
    let (mine, others) = (tokens(&world, "1").await, tokens(&world, "2").await);
    for tail in ["", "/plan", "/readings", "/summary", "/findings"] {
        let path = format!("/api/v1/patients/{patient}{tail}");
        for role in ["gp", "health_manager", "specialist", "assistant", "station_admin", "region_admin", "patient"] {
            world.get(&path, &mine[role]).await.must(200);
            world.get(&path, &others[role]).await.problem(404);
        }
        world.get(&path, &world.admin).await.must(200);
        world.get(&path, &mine["ops"]).await.problem(403);
    }
    for role in ["gp", "station_admin", "region_admin", "patient"] {
        let list = world.get("/api/v1/patients", &others[role]).await.must(200).json();
        let ids: Vec<&str> = list["items"].as_array().unwrap().iter().map(|p| p["id"].as_str().unwrap()).collect();
        assert_eq!(ids, [two["patient-record"].as_str()], "{role}");
    }
    let rename = json!({"name": "Taken"});
    world.call("PATCH", &format!("/api/v1/patients/{patient}"), rename, &others["gp"], &[]).await.problem(404);
    let binding = json!({"patientId": patient});
    world.post("/api/v1/devices/d-1/bindings", binding.clone(), &others["gp"]).await.problem(404);
    world.post("/api/v1/devices/d-2/bindings", binding, &others["gp"]).await.problem(404);
    world
        .call("DELETE", "/api/v1/devices/d-1/credential", Value::Null, &others["station_admin"], &[])
        .await
        .problem(404);
    let steal = json!({"name": "X", "teamId": one["team"]});
    world.post("/api/v1/patients", steal, &others["gp"]).await.problem(422);
}

#[tokio::test]
async fn a_report_over_many_people_counts_whom_one_sees() {
    let world = World::new().await;
    let (one, two) = (world.district("1").await, world.district("2").await);
    let (mine, others) = (Some(one["patient-record"].as_str()), Some(two["patient-record"].as_str()));
    for (seq, systolic) in [(1, "120"), (2, "130"), (3, "150")] {
        world.keep("d-1", mine, seq, pressure(systolic, "80"), Unit::MmHg).await;
    }
    world.keep("d-2", others, 1, pressure("170", "100"), Unit::MmHg).await;
    world.keep("d-2", None, 2, pressure("199", "100"), Unit::MmHg).await; // nobody's
    let path = "/api/v1/reports/population?resolution=day";
    let report = world.get(path, &world.login("gp-1", PASSWORD).await).await.must(200).json();
    assert_eq!(report["items"].as_array().unwrap().len(), 1, "{report}");
    let day = &report["items"][0];
    assert_eq!((&day["day"], &day["patients"], &day["controlled"]), (&json!("2026-03-02"), &json!(1), &json!(1)));
    assert_eq!((&day["readings"], &day["inTarget"]), (&json!(3), &json!(2)));
    assert_eq!(day["systolic"], json!({"mean": 400.0 / 3.0, "min": 120.0, "max": 150.0}));
    assert_eq!((&report["source"]["series"], &report["source"]["instead"]), (&json!("embedded"), &Value::Null));
    let all = world.get(path, &world.admin).await.must(200).json();
    assert_eq!((&all["items"][0]["patients"], &all["items"][0]["readings"]), (&json!(2), &json!(4)));
    let sugar = world.get(&format!("{path}&kind=blood_glucose"), &world.admin).await.must(200).json();
    assert_eq!(sugar["items"], json!([]));
    world.get(&format!("{path}&kind=horoscope"), &world.admin).await.problem(400);
    world.get("/api/v1/reports/population?resolution=raw", &world.admin).await.problem(400);
    let long = "/api/v1/reports/population?resolution=day&from=2001-01-01T00:00:00Z";
    world.get(long, &world.admin).await.problem(400);
}

#[tokio::test]
async fn nobody_gives_rights_beyond_their_own() {
    let world = World::new().await;
    let ids = world.district("1").await;
    let tokens = tokens(&world, "1").await;
    let user = |name: &str, role: &str, at: &str| json!({"username": name, "name": name, "roles": [role], "organisationId": at, "password": PASSWORD});
    let station_admin = &tokens["station_admin"];
    world.post("/api/v1/users", user("a", "region_admin", &ids["station"]), station_admin).await.problem(422);
    world.post("/api/v1/users", user("a", "ops", &ids["station"]), station_admin).await.problem(422);
    world.post("/api/v1/users", user("a", "gp", &ids["region"]), station_admin).await.problem(422);
    world.post("/api/v1/users", user("a", "gp", &ids["station"]), station_admin).await.must(201);
    let everything = json!({"username": "b", "name": "b", "roles": ["region_admin"], "password": PASSWORD});
    world.post("/api/v1/users", everything, &tokens["region_admin"]).await.problem(422);
    let path = format!("/api/v1/users/{}", ids["region_admin"]);
    let promote = json!({"roles": ["gp"]});
    world.call("PATCH", &path, promote, station_admin, &[("if-match", "*")]).await.problem(404);
}

#[tokio::test]
async fn a_device_is_made_at_ones_own_place_and_what_hears_a_place_by_operations() {
    let world = World::new().await;
    let ids = world.district("1").await;
    let tokens = tokens(&world, "1").await;
    let make = async |kind: &str, at: &str, who: &str| {
        world.post("/api/v1/devices", json!({"kind": kind, "organisationId": ids[at]}), &tokens[who]).await
    };
    for who in ["assistant", "station_admin"] {
        for kind in ["cuff", "gateway", "kiosk"] {
            assert_eq!(make(kind, "region", who).await.problem(422)["field"], "organisationId", "{who} {kind}");
            make(kind, "station", who).await.must(201);
        }
    }
    make("cuff", "station", "region_admin").await.must(201);
    for who in ["assistant", "station_admin", "region_admin"] {
        for at in ["station", "region"] {
            assert_eq!(make("service", at, who).await.problem(422)["field"], "kind", "{who} {at}");
        }
    }
    let service = make("service", "station", "ops").await.id();
    let gateway = world.post("/api/v1/devices", json!({"kind": "gateway"}), &world.admin).await.id();
    for device in [&service, &gateway] {
        let path = format!("/api/v1/devices/{device}");
        for who in ["assistant", "station_admin", "region_admin"] {
            let request = json!({"csr": "request"});
            world.post(&format!("{path}/certificate"), request, &tokens[who]).await.problem(403);
            world.call("DELETE", &format!("{path}/credential"), Value::Null, &tokens[who], &[]).await.problem(403);
        }
        world.post(&format!("{path}/certificate"), json!({"csr": "request"}), &tokens["ops"]).await.must(201);
    }
    let file = format!("patient_key,name,team,device_id,device_kind\nK,Ma,{},ear,service\n", ids["team"]);
    let request = axum::http::Request::post("/api/v1/import")
        .header("authorization", format!("Bearer {}", tokens["station_admin"]))
        .header("content-type", "text/csv")
        .body(axum::body::Body::from(file));
    let report = world.send(request.unwrap()).await.must(200).json();
    assert_eq!((&report["created"]["devices"], &report["rejected"][0]["column"]), (&json!(0), &json!("device_kind")));
}

#[tokio::test]
async fn who_is_called_is_somebody_whom_the_caller_knows_or_was_called_before() {
    let world = World::new().await;
    let (one, two) = (world.district("1").await, world.district("2").await);
    let head = world.login("station_admin-1", PASSWORD).await;
    let member = |ids: &HashMap<String, String>| json!({"userId": ids["gp"], "role": "gp"});
    let team = json!({"name": "T", "organisationId": one["station"], "members": [member(&one), member(&two)]});
    assert_eq!(world.post("/api/v1/teams", team.clone(), &head).await.problem(422)["field"], "members[1].userId");
    let made = world.post("/api/v1/teams", team, &world.admin).await.id();
    let patch = async |path: &str, body: Value| world.call("PATCH", path, body, &head, &[("if-match", "*")]).await;
    let path = format!("/api/v1/teams/{made}");
    patch(&path, json!({"members": [member(&two)]})).await.must(200); // who is in it may stay
    patch(&path, json!({"members": [member(&one)]})).await.must(200);
    assert_eq!(patch(&path, json!({"members": [member(&two)]})).await.problem(422)["field"], "members[0].userId");
    let station = format!("/api/v1/organisations/{}", one["station"]);
    assert_eq!(patch(&station, json!({"duty": [one["gp"], two["gp"]]})).await.problem(422)["field"], "duty");
    let both = json!({"duty": [one["gp"], two["gp"]]});
    world.call("PATCH", &station, both.clone(), &world.admin, &[]).await.must(200);
    patch(&station, both).await.must(200);
    let below = json!({"name": "S", "kind": "station", "parentId": one["station"], "duty": [two["gp"]]});
    assert_eq!(world.post("/api/v1/organisations", below, &head).await.problem(422)["field"], "duty");
}

#[tokio::test]
async fn operations_see_what_is_held_without_its_bytes() {
    let world = World::new().await;
    world.district("1").await;
    let device = world.store.directory().device("d-1").unwrap().key;
    let held = vitals::Held {
        id: vitals::ReadingId::new(0),
        device,
        epoch: 0,
        seq: Some(4),
        patient: None,
        measured_at: None,
        received_at: world.clock.now(),
        reasons: vec![vitals::Reason::Implausible],
        bytes: b"{\"systolic\":2047}".to_vec(),
        route: "readings".into(),
    };
    let day = world.clock.now().day(&vitals::Zone::default());
    let new = store::NewHeld { held, told: None, trusted: false };
    world.store.readings().submit(day, 1, move |desk| desk.hold(new)).await.unwrap();
    let ops = world.login("ops-1", PASSWORD).await;
    let seen = world.get("/api/v1/quarantine", &ops).await.must(200).json();
    assert_eq!((&seen["items"][0]["deviceId"], &seen["items"][0]["raw"]), (&json!("d-1"), &Value::Null));
    let gp = world.login("gp-1", PASSWORD).await;
    let seen = world.get("/api/v1/quarantine?reason=implausible", &gp).await.must(200).json();
    let item = &seen["items"][0];
    assert_eq!(item["reasons"], json!(["implausible"]));
    assert_eq!(item["raw"], hex::encode(b"{\"systolic\":2047}"));
    let path = format!("/api/v1/quarantine/{}/discard", item["id"].as_str().unwrap());
    world.post(&path, Value::Null, &gp).await.must(204);
    world.post(&path, Value::Null, &gp).await.problem(404);
    assert_eq!(world.get("/api/v1/quarantine?reason=clock", &gp).await.json()["items"], json!([]));
}

#[tokio::test]
async fn what_was_seen_and_refused_is_written_down_in_a_chain() {
    let world = World::new().await;
    let (one, _) = (world.district("1").await, world.district("2").await);
    let (mine, other) = (world.login("gp-1", PASSWORD).await, world.login("gp-2", PASSWORD).await);
    let path = format!("/api/v1/patients/{}", one["patient-record"]);
    world.get(&path, &mine).await.must(200);
    world.get(&path, &other).await.must(404);
    world.get("/api/v1/ops/pipeline", &mine).await.must(403);
    let auditor = world.login("auditor-1", PASSWORD).await;
    let (mut rows, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = world.get(&format!("/api/v1/audit?limit=20{cursor}"), &auditor).await.must(200).json();
        rows.extend(page["items"].as_array().unwrap().clone());
        match page["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    let has = |user: &str, action: &str, result: &str| {
        rows.iter().any(|r| r["actor"]["username"] == user && r["action"] == action && r["result"] == result)
    };
    assert!(has("gp-1", "session.open", "ok") && has("gp-1", "patient.read", "ok"));
    assert!(has("gp-2", "patient.read", "not_found") && has("gp-1", "access", "denied"));
    let read = rows.iter().find(|r| r["action"] == "patient.read" && r["result"] == "ok").unwrap();
    assert_eq!((&read["ref"], &read["actor"]["role"]), (&json!(one["patient-record"]), &json!("gp")));
    let created = rows.iter().find(|r| r["action"] == "patient.create").unwrap();
    assert_eq!(created["ref"], json!(one["patient-record"]));
    for pair in rows.windows(2) {
        assert_eq!(pair[1]["previousHash"], pair[0]["hash"]);
        assert_eq!(pair[1]["seq"].as_i64(), pair[0]["seq"].as_i64().map(|n| n + 1));
    }
    let verdict = store::verify_audit(world.folder.path()).unwrap();
    assert!(matches!(verdict, store::AuditVerdict::Whole { rows } if rows >= 20), "{verdict:?}");
}
