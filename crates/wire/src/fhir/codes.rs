//! The codes that say what an Observation measured: LOINC for everybody, IEEE 11073 (MDC) for gateways that follow the
//! personal health device guide. A code that is not here is `kind_unknown`: what a neighbouring code means is a guess.

use vitals::{Meal, Status, Unit};

pub(super) const LOINC: &str = "http://loinc.org";
pub(super) const MDC: &str = "urn:iso:std:iso:11073:10101";
pub(super) const UCUM: &str = "http://unitsofmeasure.org";

/// What an Observation, or a component of one, is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    /// A blood pressure panel.
    Pressure,
    Systolic,
    Diastolic,
    Mean,
    /// Heart or pulse rate.
    Pulse,
    Glucose(Glucose),
    /// The relation to a meal, as a component.
    MealRelation,
    /// One bit of a cuff's status word.
    Word(Status),
}

/// What a glucose code says beside "glucose".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Glucose {
    /// The unit that belongs to the code's property; none where the code leaves it open.
    pub(super) unit: Option<Unit>,
    pub(super) specimen: Option<&'static str>,
    pub(super) meal: Option<Meal>,
    /// A test of the meter.
    pub(super) control: bool,
}

const MOLE: Option<Unit> = Some(Unit::MmolPerL);
const MASS: Option<Unit> = Some(Unit::MgPerDl);

const fn glucose(unit: Option<Unit>, specimen: Option<&'static str>, meal: Option<Meal>) -> Option<Subject> {
    Some(Subject::Glucose(Glucose { unit, specimen, meal, control: false }))
}

/// What `code` of `system` stands for.
pub(super) fn subject(system: &str, code: &str) -> Option<Subject> {
    match system {
        LOINC => loinc(code),
        MDC => mdc(code),
        _ => None,
    }
}

fn loinc(code: &str) -> Option<Subject> {
    let (capillary, fasting) = (Some("capillary"), Some(Meal::Fasting));
    match code {
        "85354-9" => Some(Subject::Pressure),
        "8480-6" => Some(Subject::Systolic),
        "8462-4" => Some(Subject::Diastolic),
        "8478-0" => Some(Subject::Mean),
        "8867-4" => Some(Subject::Pulse),
        // Capillary blood by meter.
        "14743-9" => glucose(MOLE, capillary, None),
        "41653-7" => glucose(MASS, capillary, None),
        "14770-2" => glucose(MOLE, capillary, fasting),
        "41604-0" => glucose(MASS, capillary, fasting),
        // Blood, the site unknown.
        "15074-8" => glucose(MOLE, None, None),
        "2339-0" => glucose(MASS, None, None),
        "88365-2" => glucose(MASS, None, Some(Meal::BeforeMeal)),
        // Serum or plasma.
        "14749-6" => glucose(MOLE, Some("plasma"), None),
        "2345-7" => glucose(MASS, Some("plasma"), None),
        "14771-0" => glucose(MOLE, Some("plasma"), fasting),
        "1558-6" => glucose(MASS, Some("plasma"), fasting),
        "16915-1" => glucose(MASS, Some("plasma"), Some(Meal::AfterMeal)),
        // Serum, plasma or blood.
        "77145-1" => glucose(MOLE, None, fasting),
        "99504-3" => glucose(MASS, Some("interstitial"), None),
        _ => None,
    }
}

/// Codes of a 32-bit nomenclature: partition x 65,536 + term.
fn mdc(code: &str) -> Option<Subject> {
    match code {
        "150020" => Some(Subject::Pressure),
        "150021" => Some(Subject::Systolic),
        "150022" => Some(Subject::Diastolic),
        "150023" => Some(Subject::Mean),
        "149546" => Some(Subject::Pulse),
        "160184" | "160188" => glucose(None, Some("capillary"), None),
        "160192" | "160196" => glucose(None, Some("venous"), None),
        "160200" | "160204" => glucose(None, Some("arterial"), None),
        "160208" => Some(Subject::Glucose(Glucose { control: true, ..Glucose::default() })),
        "160212" => glucose(None, Some("interstitial"), None),
        "8417864" => Some(Subject::MealRelation),
        "8410608.0" => Some(Subject::Word(Status::BodyMovement)),
        "8410608.1" => Some(Subject::Word(Status::CuffLoose)),
        "8410608.2" => Some(Subject::Word(Status::IrregularPulse)),
        "8410608.3" => Some(Subject::Word(Status::PulseTooHigh)),
        "8410608.4" => Some(Subject::Word(Status::PulseTooLow)),
        "8410608.5" => Some(Subject::Word(Status::ImproperPosition)),
        _ => None,
    }
}

/// The value of a [`Subject::MealRelation`].
pub(super) fn meal(system: &str, code: &str) -> Option<Meal> {
    match (system, code) {
        (MDC, "8417868") => Some(Meal::BeforeMeal),
        (MDC, "8417872") => Some(Meal::AfterMeal),
        (MDC, "8417876") => Some(Meal::Fasting),
        (MDC, "8417880") => Some(Meal::Casual),
        (MDC, "8417908") => Some(Meal::Bedtime),
        _ => None,
    }
}

/// A UCUM unit of a pressure or a glucose. `mmHg` is no UCUM unit.
pub(super) fn unit(code: &str) -> Option<Unit> {
    match code {
        "mm[Hg]" => Some(Unit::MmHg),
        "kPa" => Some(Unit::KPa),
        "mmol/L" | "mmol/l" => Some(Unit::MmolPerL),
        "mg/dL" | "mg/dl" => Some(Unit::MgPerDl),
        _ => None,
    }
}

/// Whether a UCUM unit is "a minute"; what stands in braces is a remark.
pub(super) fn is_per_minute(code: &str) -> bool {
    let plain = match (code.find('{'), code.rfind('}')) {
        (Some(0), Some(end)) => &code[end + 1..],
        _ => code,
    };
    plain == "/min"
}
