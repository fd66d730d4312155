//! The numeric cases of the clinical reference, each within its own tolerance.

use rules::statistics::{self as st, Prior, Session, Start};
use serde_json::{Value, json};

fn numbers(v: &Value) -> Vec<f64> {
    v.as_array().unwrap().iter().map(|n| n.as_f64().unwrap()).collect()
}

fn number(v: &Value) -> f64 {
    v.as_f64().unwrap()
}

fn count(v: &Value) -> usize {
    usize::try_from(v.as_u64().unwrap()).unwrap()
}

fn each(x: &[f64], f: impl Fn(f64) -> f64) -> Vec<f64> {
    x.iter().map(|v| f(*v)).collect()
}

fn distributions(function: &str, i: &Value) -> Value {
    let p = numbers(&i["p"]);
    if function == "normal" {
        let z = numbers(&i["z"]);
        return json!({"ppf": each(&p, st::normal_quantile), "cdf": each(&z, st::normal), "sf": each(&z, st::normal_above)});
    }
    let (df, t) = (numbers(&i["df"]), numbers(&i["t"]));
    let by = |x: &[f64], f: fn(f64, f64) -> f64| -> Vec<f64> { x.iter().zip(&df).map(|(v, d)| f(*v, *d)).collect() };
    json!({"ppf": by(&p, st::student_quantile), "cdf": by(&t, st::student)})
}

fn week(i: &Value) -> Value {
    let reading = |r: &Value| Session {
        day: u16::try_from(r["day"].as_u64().unwrap()).unwrap(),
        evening: r["slot"] == "pm",
        systolic: number(&r["sbp"]),
        diastolic: number(&r["dbp"]),
        readings: 1,
    };
    let readings: Vec<Session> = i["readings"].as_array().unwrap().iter().map(reading).collect();
    let drop = i["drop_first_day"].as_bool().unwrap();
    let w = st::guideline_week(&readings, drop, (count(&i["min_readings"]), count(&i["min_days"])));
    let pair = |p: Option<(f64, f64)>| p.map_or(json!([null, null]), |p| json!([p.0, p.1]));
    json!({"n_readings_used": w.readings, "n_days_used": w.days, "n_sessions_used": w.sessions, "valid": w.valid,
        "mean": pair(w.mean), "mean_am": pair(w.morning), "mean_pm": pair(w.evening), "am_minus_pm_sbp": w.difference})
}

fn trends(function: &str, i: &Value) -> Value {
    let x = numbers(&i["x"]);
    match function {
        "mann_kendall" => {
            let m = st::mann_kendall(&x).unwrap();
            json!({"s": m.s, "var_s": m.variance, "z": m.z, "p": m.p, "tau_a": m.tau_a})
        }
        "mann_kendall_hamed_rao" => {
            let m = st::hamed_rao(&x, number(&i["alpha"])).unwrap();
            json!({"var_s": m.variance, "z": m.z, "p": m.p})
        }
        "theil_sen" => {
            let s = st::theil_sen(&numbers(&i["t_days"]), &x).unwrap();
            json!({"slope_per_day": s.per_day, "intercept": s.intercept, "lo95": s.low95, "hi95": s.high95,
                "change_28d": 28.0 * s.per_day, "tau_b": s.tau_b})
        }
        "ols_slope" => {
            let l = st::least_squares(&numbers(&i["t_days"]), &x).unwrap();
            json!({"slope": l.slope, "se": l.error, "t": l.t, "p": l.p, "r2": l.r2})
        }
        _ => {
            let c = st::mean_interval(&x, number(&i["rho"])).unwrap();
            json!({"mean": c.mean, "n_eff": c.effective, "se": c.error, "lo95": c.low95, "hi95": c.high95, "lo80": c.low80})
        }
    }
}

fn charts(function: &str, i: &Value) -> Value {
    match function {
        "window_shift" => {
            let prior = Prior { degrees: number(&i["prior_df"]), variance: number(&i["prior_var"]) };
            let s = st::window_shift(&numbers(&i["recent"]), &numbers(&i["reference"]), prior).unwrap();
            json!({"mean_recent": s.recent, "mean_reference": s.reference, "diff": s.difference,
                "sd_shrunk": s.deviation, "z": s.z})
        }
        "ewma_z" => {
            let base = (number(&i["base_mean"]), number(&i["base_sd"]));
            let e = st::ewma(&numbers(&i["y"]), base, number(&i["base_n"]), number(&i["lambda"]));
            json!({"ewma": e.mean, "z": e.z})
        }
        "cusum" => {
            let c = st::cusum(&numbers(&i["y"]), (number(&i["base_mean"]), number(&i["base_sd"])), number(&i["k"]));
            json!({"upper": c.upper, "lower": c.lower})
        }
        _ => {
            let days: Vec<Option<f64>> = i["y_daily"].as_array().unwrap().iter().map(Value::as_f64).collect();
            let (a, p) = (numbers(&i["a1"]), numbers(&i["p1_diag"]));
            let start = Start { level: a[0], slope: a[1], level_variance: p[0], slope_variance: p[1] };
            let noise = ["obs_var", "level_var", "slope_var"].map(|k| number(&i[k]));
            let t = st::local_linear_trend(&days, noise, start);
            json!({"level_last": t.level, "slope_last": t.slope, "var_level_last": t.level_variance,
                "cov_last": t.covariance, "var_slope_last": t.slope_variance, "loglike": t.log_likelihood})
        }
    }
}

fn glucose(function: &str, i: &Value) -> Value {
    let mmol = numbers(&i["mmol"]);
    match function {
        "glucose_indices" => {
            let g = st::indices(&mmol).unwrap();
            json!({"n": g.n, "mean_mmol": g.mean, "sd_mmol": g.deviation, "cv_pct": g.variation, "gmi_pct": g.gmi,
                "ea1c_pct": g.estimated_a1c, "j_index": g.j, "lbgi": g.low, "hbgi": g.high, "lbgi_mmol_form": g.low_mmol,
                "hbgi_mmol_form": g.high_mmol, "m_value_ref90": g.m, "pct_lt_3_0": g.shares[0],
                "pct_3_0_3_9": g.shares[1], "pct_3_9_10_0": g.shares[2], "pct_gt_10_0": g.shares[3],
                "pct_gt_13_9": g.shares[4], "pct_ge_16_7": g.shares[5]})
        }
        "agp_percentiles" => {
            let bins = st::agp(&numbers(&i["hour"]), &mmol, number(&i["bin_hours"]), &numbers(&i["percentiles"]));
            bins.into_iter()
                .map(|(bin, values)| (bin.to_string(), json!(values)))
                .collect::<serde_json::Map<_, _>>()
                .into()
        }
        _ => {
            let m = st::mage(&mmol).unwrap();
            json!({"sd": m.deviation, "mage": m.mage, "n_excursions": m.excursions})
        }
    }
}

fn answer(function: &str, i: &Value) -> Value {
    match function {
        "mmol_to_mgdl" => json!({"mgdl": each(&numbers(&i["mmol"]), |v| v * st::MG_PER_MMOL)}),
        "kpa_to_mmhg" => json!({"mmhg": each(&numbers(&i["kpa"]), |v| v * st::MMHG_PER_KPA)}),
        "normal" | "student_t" => distributions(function, i),
        "describe" => {
            let d = st::describe(&numbers(&i["x"])).unwrap();
            json!({"n": d.n, "mean": d.mean, "sd": d.deviation, "cv_pct": d.variation, "arv": d.successive,
                "median": d.median, "min": d.min, "max": d.max, "p10": d.p10, "p90": d.p90, "rmssd": d.rmssd})
        }
        "hbpm_week" => week(i),
        "window_shift" | "ewma_z" | "cusum" | "local_linear_trend" => charts(function, i),
        "glucose_indices" | "agp_percentiles" | "mage_turning_points" => glucose(function, i),
        _ => trends(function, i),
    }
}

fn differ(path: &str, want: &Value, got: &Value, tolerance: f64, out: &mut Vec<String>) {
    match (want, got) {
        (Value::Object(w), g) => w.iter().for_each(|(k, v)| differ(&format!("{path}.{k}"), v, &g[k], tolerance, out)),
        (Value::Array(w), Value::Array(g)) if w.len() == g.len() => {
            w.iter().zip(g).enumerate().for_each(|(i, (w, g))| differ(&format!("{path}[{i}]"), w, g, tolerance, out));
        }
        (Value::Number(w), Value::Number(g)) => {
            let (w, g) = (w.as_f64().unwrap(), g.as_f64().unwrap());
            if (w - g).abs() > (tolerance * w.abs()).max(1e-9) {
                out.push(format!("{path}: {g}, expected {w}"));
            }
        }
        (w, g) if w == g => {}
        (w, g) => out.push(format!("{path}: {g}, expected {w}")),
    }
}

#[test]
fn every_formula_meets_the_reference() {
    let file: Value = serde_json::from_str(include_str!("clinical.json")).unwrap();
    let (mut wrong, mut met) = (Vec::new(), 0);
    for case in file["cases"].as_array().unwrap() {
        let before = wrong.len();
        let got = answer(case["function"].as_str().unwrap(), &case["input"]);
        let id = case["id"].as_str().unwrap();
        differ(id, &case["expected"], &got, number(&case["tol_rel"]), &mut wrong);
        met += usize::from(wrong.len() == before);
    }
    println!("{met} of {} met", file["n_cases"]);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(met, count(&file["n_cases"]));
}

#[test]
fn nothing_is_computed_of_too_little() {
    assert!(st::describe(&[]).is_none() && st::mann_kendall(&[1.0]).is_none() && st::indices(&[]).is_none());
    assert!(st::theil_sen(&[1.0, 1.0], &[2.0, 3.0]).is_none() && st::least_squares(&[1.0, 2.0], &[1.0, 2.0]).is_none());
    assert!(st::window_shift(&[], &[1.0], Prior { degrees: 8.0, variance: 52.0 }).is_none());
    assert!(st::mean_interval(&[1.0], 0.2).is_none() && st::mage(&[5.0, 5.0]).is_none());
    assert!(!st::guideline_week(&[], true, (12, 3)).valid);
}
