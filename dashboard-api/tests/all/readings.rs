//! Readings as the API shows them: every one once, with the digits that were sent.

use crate::common::{World, glucose, pressure};
use serde_json::{Value, json};
use std::time::Duration;
use vitals::{GlucoseValue, Meal, MealName, Reading, Unit, Values};

#[tokio::test]
async fn pages_hold_every_item_once_in_order() {
    let world = World::new().await;
    let ids = world.district("1").await;
    let patient = &ids["patient-record"];
    for seq in 1..=11 {
        world.keep("d-1", Some(patient), seq, pressure(&(110 + seq).to_string(), "80"), Unit::MmHg).await;
    }
    for limit in [1, 4, 11, 200] {
        let (mut got, mut cursor) = (Vec::new(), String::new());
        loop {
            let path = format!("/api/v1/patients/{patient}/readings?limit={limit}{cursor}");
            let page = world.get(&path, &world.admin).await.must(200).json();
            got.extend(page["items"].as_array().unwrap().iter().map(|r| r["systolic"].as_i64().unwrap()));
            match page["nextCursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        assert_eq!(got, (111..=121).collect::<Vec<_>>(), "limit {limit}");
    }
}

#[tokio::test]
async fn digits_are_kept_exactly() {
    let world = World::new().await;
    let ids = world.district("1").await;
    let patient = &ids["patient-record"];
    world.keep("d-1", Some(patient), 1, glucose("6.20"), Unit::MmolPerL).await;
    world.keep("d-1", Some(patient), 2, glucose("17.931746"), Unit::MmolPerL).await;
    world.keep("d-1", Some(patient), 3, Values::Glucose(GlucoseValue::High), Unit::MmolPerL).await;
    world.keep("d-1", Some(patient), 4, pressure("18.0", "11.5"), Unit::KPa).await;
    let path = format!("/api/v1/patients/{patient}/readings");
    let text = world.get(&path, &world.admin).await.must(200).text;
    for digits in [
        "\"glucose\":6.20,",
        "\"glucose\":17.931746,",
        "\"glucose\":\"HI\"",
        "\"systolic\":18.0,",
        "\"diastolic\":11.5",
    ] {
        assert!(text.contains(digits), "{digits} is not in {text}");
    }
    let sugar = world.get(&format!("{path}?kind=blood_glucose"), &world.admin).await.json();
    assert_eq!(sugar["items"].as_array().unwrap().len(), 3);
    world.get(&format!("{path}?kind=horoscope"), &world.admin).await.problem(400);
    let days = world.get(&format!("{path}?resolution=day"), &world.admin).await.must(200).json();
    assert_eq!(days["items"][0]["aboveRange"], 1, "{days}");
    assert_eq!(days["items"][1]["count"], 1, "{days}");
}

#[tokio::test]
async fn the_worklist_has_a_row_for_each_patient_with_the_latest_reading() {
    let world = World::new().await;
    let ids = world.district("1").await;
    let patient = &ids["patient-record"];
    for i in 0..5 {
        let other = json!({"name": format!("Other {i}"), "teamId": ids["team"]});
        world.post("/api/v1/patients", other, &world.admin).await.must(201);
    }
    world.keep("d-1", Some(patient), 1, pressure("141", "91"), Unit::MmHg).await;
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page =
            world.get(&format!("/api/v1/patients?sort=risk&limit=2{cursor}"), &world.admin).await.must(200).json();
        seen.extend(page["items"].as_array().unwrap().clone());
        match page["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen.len(), 6);
    let row = seen.iter().find(|r| r["id"] == **patient).unwrap();
    assert_eq!((&row["latest"]["systolic"], &row["openAlerts"]), (&json!(141), &json!(0)));
    assert_eq!(row["spark"].as_array().unwrap().len(), 1);
    let found = world.get("/api/v1/patients?q=li%20test", &world.admin).await.json();
    assert_eq!(found["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn what_belongs_to_nobody_is_listed_assigned_and_follows_a_binding() {
    let world = World::new().await;
    let ids = world.district("1").await;
    let (patient, admin) = (&ids["patient-record"], &world.admin);
    let id = world.keep("d-1", None, 1, pressure("141", "91"), Unit::MmHg).await;
    world.keep("d-1", None, 2, pressure("142", "92"), Unit::MmHg).await;
    let open =
        || async { world.get("/api/v1/unassigned", admin).await.must(200).json()["items"].as_array().unwrap().len() };
    assert_eq!(open().await, 2);
    let path = format!("/api/v1/unassigned/{id}/assign");
    world.post(&path, json!({"patientId": patient}), admin).await.must(204);
    world.post(&path, json!({"patientId": patient}), admin).await.problem(409);
    assert_eq!(open().await, 1);
    let binding = json!({"patientId": patient, "from": "2026-01-01T00:00:00+08:00", "to": "2026-06-01T00:00:00+08:00"});
    world.post("/api/v1/devices/d-1/bindings", binding.clone(), admin).await.must(201);
    world.post("/api/v1/devices/d-1/bindings", binding, admin).await.problem(409);
    assert_eq!(open().await, 0);
    let readings = world.get(&format!("/api/v1/patients/{patient}/readings"), admin).await.json();
    assert_eq!(readings["items"].as_array().unwrap().len(), 2);
    let books = world.get("/api/v1/ops/pipeline?device=d-1", admin).await.must(200).json();
    assert_eq!(books["accounting"]["total"]["stored"], 2);
    assert_eq!(books["accounting"]["devices"][0]["device"], "d-1");
    let list = world.get("/api/v1/devices/d-1/bindings", admin).await.json();
    let bid = list["items"][0]["id"].as_str().unwrap();
    let shorter = json!({"to": "2026-03-01T00:00:00+08:00"});
    world.call("PATCH", &format!("/api/v1/devices/d-1/bindings/{bid}"), shorter, admin, &[]).await.must(200);
    assert_eq!(open().await, 1, "the reading that was assigned by hand stays, the other lost its binding");
}

#[tokio::test]
async fn a_file_of_contracts_goes_in_and_its_bad_rows_are_named() {
    let world = World::new().await;
    let ids = world.district("1").await;
    let file = format!(
        "patient_key,name,birth_date,sex,team,tags,conditions,phone,device_id,device_kind,user_slot,bound_from\n\
         1,Wang,1950-01-02,female,Team 1,a;b,hypertension,139,imp-1,blood_pressure,,2026-01-01\n\
         1,Wang,1950-01-02,female,Team 1,a;b,hypertension,139,imp-2,blood_glucose,,2026-01-01\n\
         2,Chen,1950-13-02,male,{},,,,imp-3,,,\n\
         3,Zhao,,,No such team,,,,,,,\n",
        ids["team"]
    );
    let post = |query: &'static str| {
        let request = axum::http::Request::post(format!("/api/v1/import{query}"))
            .header("authorization", format!("Bearer {}", world.admin))
            .header("content-type", "text/csv");
        world.send(request.body(axum::body::Body::from(file.clone())).unwrap())
    };
    post("?dryRun=perhaps").await.problem(400);
    let dry = post("?dryRun=true").await.must(200).json();
    assert_eq!(dry["created"], json!({"patients": 1, "devices": 2, "bindings": 2}));
    let done: Value = post("").await.must(200).json();
    assert_eq!(done["created"], json!({"patients": 1, "devices": 2, "bindings": 2}));
    assert_eq!(done["secrets"].as_array().unwrap().len(), 2);
    let rejected: Vec<(u64, &str)> = done["rejected"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| (r["line"].as_u64().unwrap(), r["column"].as_str().unwrap()))
        .collect();
    assert_eq!(rejected, [(4, "birth_date"), (5, "team")]);
}

#[tokio::test]
async fn a_bad_row_is_named_by_its_line_however_lines_end() {
    let world = World::new().await;
    world.district("1").await;
    for end in ["\n", "\r\n"] {
        for mark in ["", "\u{feff}"] {
            let lines = [
                "name,patient_key,birth_date,team",
                "\"two",
                "lines\",1,,Team 1",
                "Chen,2,1950-13-02,Team 1",
                "",
                "",
                "Zhao,3,,No such team",
            ];
            let file = format!("{mark}{}{end}", lines.join(end));
            let request = axum::http::Request::post("/api/v1/import?dryRun=true")
                .header("authorization", format!("Bearer {}", world.admin));
            let done = world.send(request.body(axum::body::Body::from(file)).unwrap()).await.must(200).json();
            let rows = done["rejected"].as_array().unwrap();
            let lines: Vec<_> =
                rows.iter().map(|r| (r["line"].as_u64().unwrap(), r["column"].as_str().unwrap())).collect();
            assert_eq!(lines, [(4, "birth_date"), (7, "team")], "{end:?} {mark:?}");
        }
    }
}

#[tokio::test]
async fn a_row_that_is_turned_away_leaves_nothing_and_a_dry_run_says_what_the_run_does() {
    let world = World::new().await;
    world.district("1").await;
    let file = "patient_key,name,team,device_id,user_slot,bound_from\n\
         1,Wang,Team 1,imp-1,,2026-01-01\n\
         2,Chen,Team 1,imp-1,,2026-02-01\n\
         3,Zhao,Team 1,m 3/,,2026-01-01\n\
         4,Qian,Team 1,imp-4,1,2026-01-01\n\
         5,Sun,Team 1,imp-4,2,2026-01-01\n\
         6,Li,Team 1,,,\n";
    let post = async |query: &str| {
        let request = axum::http::Request::post(format!("/api/v1/import{query}"))
            .header("authorization", format!("Bearer {}", world.admin));
        world.send(request.body(axum::body::Body::from(file)).unwrap()).await.must(200).json()
    };
    let patients = || world.store.directory().patients().len();
    let before = patients();
    let dry = post("?dryRun=true").await;
    assert_eq!(patients(), before);
    let done = post("").await;
    assert_eq!(done["created"], json!({"patients": 4, "devices": 2, "bindings": 3}));
    assert_eq!((&dry["created"], &dry["rejected"]), (&done["created"], &done["rejected"]));
    let lines: Vec<_> = done["rejected"].as_array().unwrap().iter().map(|r| (&r["line"], &r["column"])).collect();
    assert_eq!(lines, [(&json!(3), &json!("bound_from")), (&json!(4), &json!("device_id"))]);
    assert_eq!(patients(), before + 4);
    // The same file again: whoever wears a meter already is not enrolled a second time.
    assert_eq!(post("").await["created"], json!({"patients": 1, "devices": 0, "bindings": 0}));
}

#[tokio::test]
async fn a_summary_says_what_a_doctor_would_count() {
    let world = World::new().await;
    let ids = world.district("1").await;
    let patient = &ids["patient-record"];
    for (seq, (systolic, diastolic)) in [("120", "80"), ("130", "84"), ("140", "90")].into_iter().enumerate() {
        let seq = i64::try_from(seq).unwrap() + 1;
        world.keep("d-1", Some(patient), seq, pressure(systolic, diastolic), Unit::MmHg).await;
    }
    world.keep("d-1", Some(patient), 4, glucose("3.5"), Unit::MmolPerL).await;
    world.keep("d-1", Some(patient), 5, Values::Glucose(GlucoseValue::High), Unit::MmolPerL).await;
    let path = format!("/api/v1/patients/{patient}/summary");
    let all = world.get(&path, &world.admin).await.must(200).json();
    let bp = &all["bloodPressure"];
    assert_eq!((&bp["used"], &bp["all"]["systolic"]["mean"]), (&json!(3), &json!(130.0)), "{all}");
    assert_eq!(
        (&bp["all"]["systolic"]["sd"], &bp["variability"]["systolicArv"]),
        (&json!(10.0), &json!(10.0)),
        "{all}"
    );
    assert!((bp["inTarget"].as_f64().unwrap() - 2.0 / 3.0).abs() < 1e-9, "{all}");
    assert_eq!(bp["byWeek"].as_array().unwrap().len(), 1, "{all}");
    let sugar = &all["bloodGlucose"];
    assert_eq!(
        (&sugar["used"], &sugar["aboveRange"], &sugar["all"]["count"]),
        (&json!(2), &json!(1), &json!(1)),
        "{all}"
    );
    assert_eq!(sugar["timeInRange"], json!({"below": 0.5, "within": 0.0, "above": 0.5}), "{all}");
    let none = world.get(&format!("{path}?to=2001-01-01T00:00:00Z"), &world.admin).await.must(200).json();
    assert_eq!((&none["bloodPressure"], &none["bloodGlucose"]), (&Value::Null, &Value::Null));
    world.get(&format!("{path}?from=yesterday"), &world.admin).await.problem(400);
}

/// A measuring week of the published cases (too few readings to decide), a meal that is named, and a sensor's fortnight
/// which is kept apart from both single measurements.
#[tokio::test]
async fn a_summary_has_the_guidelines_week_the_meals_and_a_sensors_day() {
    let world = World::new().await;
    let ids = world.district("1").await;
    let patient = Some(ids["patient-record"].as_str());
    let at = |text: &str| vitals::Timestamp::parse_rfc3339(&format!("2026-02-{text}:00+08:00")).unwrap();
    let week = [
        ("20T07:00", 137, 85),
        ("20T07:01", 131, 89),
        ("20T20:00", 135, 81),
        ("20T20:01", 135, 81),
        ("21T07:00", 133, 81),
        ("21T07:01", 127, 91),
        ("22T07:00", 146, 83),
        ("22T07:01", 142, 79),
    ];
    let mut all = Vec::new();
    for (seq, (text, systolic, diastolic)) in (1..).zip(week) {
        let values = pressure(&systolic.to_string(), &diastolic.to_string());
        all.push(Reading { measured_at: at(text), ..world.reading("d-1", patient, seq, values, Unit::MmHg) });
    }
    for (seq, value, meal, name) in
        [(20, "6.2", Meal::Fasting, None), (21, "14.5", Meal::AfterMeal, Some(MealName::Lunch))]
    {
        let mut single = world.reading("d-1", patient, seq, glucose(value), Unit::MmolPerL);
        (single.context.meal, single.context.meal_name) = (Some(meal), name);
        all.push(Reading { measured_at: at("21T13:00"), ..single });
    }
    let begin = world.clock.now().minus(Duration::from_secs(14 * 86_400));
    for n in 0..14 * 96_u64 {
        let seq = 100 + i64::try_from(n).unwrap();
        let mut value = world.reading("d-1", patient, seq, glucose("6.0"), Unit::MmolPerL);
        value.context.specimen = Some("interstitial".into());
        all.push(Reading { measured_at: begin.plus(Duration::from_secs(n * 900)), ..value });
    }
    world.keep_all(all).await;
    let path = format!("/api/v1/patients/{}/summary", ids["patient-record"]);
    let said = world.get(&path, &world.admin).await.must(200).json();
    let week = &said["bloodPressure"]["guidelineWeek"];
    assert_eq!(
        (&week["from"], &week["to"], &week["readings"], &week["days"], &week["enough"]),
        (&json!("2026-02-21"), &json!("2026-02-22"), &json!(4), &json!(2), &json!(false)),
    );
    assert_eq!(week["mean"], json!({"systolic": 137.0, "diastolic": 83.5}));
    assert_eq!(week["morningMinusEvening"], Value::Null, "no evening is left");
    // Mornings of 134, 130 and 144.
    let cv = said["bloodPressure"]["variability"]["morningSystolicCv"].as_f64().unwrap();
    assert!((cv - 100.0 * 52.0_f64.sqrt() / 136.0).abs() < 1e-9, "{cv}");
    let single = &said["bloodGlucose"];
    assert_eq!((&single["used"], &single["all"]["count"]), (&json!(2), &json!(2)));
    let meals: Vec<&str> = single["meals"].as_array().unwrap().iter().map(|m| m["meal"].as_str().unwrap()).collect();
    assert_eq!(meals, ["fasting", "after_lunch"]);
    assert_eq!(single["extremes"], json!({"veryLow": 0.0, "veryHigh": 0.5}));
    assert_eq!(single["byClock"][0]["fromHour"], 12);
    let sensor = &said["glucoseSensor"];
    assert_eq!(
        (&sensor["used"], &sensor["coverage"], &sensor["intervalMinutes"]),
        (&json!(1344), &json!(1.0), &json!(15.0))
    );
    assert!((sensor["gmi"].as_f64().unwrap() - (3.31 + 0.02392 * 6.0 * 18.016)).abs() < 1e-9, "{sensor}");
    assert_eq!(sensor["profile"].as_array().unwrap().len(), 48);
    // A week of it is too little for a GMI.
    let short = format!("{path}?to=2026-02-23T08:00:00%2B08:00");
    let said = world.get(&short, &world.admin).await.must(200).json();
    assert_eq!(said["glucoseSensor"]["gmi"], Value::Null);
}
