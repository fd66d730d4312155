// What `/patients/{id}/summary` says: a stretch of time in numbers, each with how many readings it rests on.

export interface Numbers {
  count: number;
  mean: number;
  sd: number | null;
  min: number;
  max: number;
}

export interface Pair {
  systolic: Numbers | null;
  diastolic: Numbers | null;
}

export interface Means {
  systolic: number;
  diastolic: number;
}

export interface GuidelineWeek {
  from: string;
  to: string;
  readings: number;
  days: number;
  sessions: number;
  enough: boolean;
  mean: Means | null;
  morning: Means | null;
  evening: Means | null;
  morningMinusEvening: number | null;
}

export interface PressureSummary {
  used: number;
  flagged: number;
  excluded: number;
  inTarget: number | null;
  target: Means;
  all: Pair;
  morning: Pair;
  evening: Pair;
  variability: {
    systolicCv: number | null;
    morningSystolicCv: number | null;
    mornings: number;
    systolicArv: number | null;
    morningMinusEvening: number | null;
  };
  guidelineWeek: GuidelineWeek | null;
}

export interface Shares {
  below: number;
  within: number;
  above: number;
}

export interface Extremes {
  veryLow: number;
  veryHigh: number;
}

export interface GlucoseSummary {
  used: number;
  flagged: number;
  excluded: number;
  aboveRange: number;
  belowRange: number;
  timeInRange: Shares | null;
  extremes: Extremes | null;
  all: Numbers | null;
  cv: number | null;
  lbgi: number | null;
  hbgi: number | null;
  meals: { meal: string; glucose: Numbers }[];
}

export interface ProfilePiece {
  hour: number;
  count: number;
  p5: number;
  p25: number;
  p50: number;
  p75: number;
  p95: number;
}

export interface SensorSummary {
  used: number;
  days: number;
  coverage: number;
  timeInRange: Shares | null;
  extremes: Extremes | null;
  all: Numbers | null;
  cv: number | null;
  gmi: number | null;
  profile: ProfilePiece[];
}

export interface Summary {
  from: string;
  to: string;
  timeZone: string;
  bloodPressure: PressureSummary | null;
  bloodGlucose: GlucoseSummary | null;
  glucoseSensor: SensorSummary | null;
}
