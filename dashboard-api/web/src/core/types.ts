// What the pages read from /api/v1. Members that the contract fixes are required; what it leaves open is optional,
// and every reader copes with its absence. Times are RFC 3339 text.

export type Severity = "critical" | "urgent" | "routine" | "info";
export type AlertState = "open" | "notified" | "acknowledged" | "follow_up" | "resolved" | "auto_resolved" | "expired";
export type Role =
  | "gp" | "specialist" | "health_manager" | "assistant" | "station_admin" | "region_admin" | "ops" | "auditor" | "patient";

/** A list's page. */
export interface Page<T> {
  items: T[];
  nextCursor?: string | null;
  asOf?: string;
  evaluatedAt?: string | null;
}

export interface User {
  id: string;
  username: string;
  name?: string;
  roles: Role[];
  locale?: string | null;
  patientId?: string | null;
  teams?: ({ id: string; name?: string } | string)[];
  mustChangePassword?: boolean;
}

export interface Session {
  user: User;
  expiresAt?: string;
  timeZone?: string;
}

/** One number of a reading against the person's own of the 90 days before; mmHg or mmol/L. */
export interface Doubt {
  quantity: "systolic" | "diastolic" | "glucose";
  value: number;
  mean: number;
  sd: number;
  distance: number;
  readings: number;
}

export interface Reading {
  id: string;
  kind: "blood_pressure" | "blood_glucose";
  measuredAt: string;
  receivedAt?: string;
  timeQuality?: "exact" | "corrected" | "assumed" | "received";
  deviceId?: string;
  systolic?: number | null;
  diastolic?: number | null;
  pulse?: number | null;
  glucose?: number | "HI" | "LO" | null;
  unit?: string;
  meal?: string | null;
  status?: string[];
  flags?: string[];
  /** Far from the person's own readings: somebody else may have measured. */
  doubt?: Doubt;
  result?: "stored" | "flagged" | "excluded";
}

/** A point of a worklist sparkline: a bare number, or the numbers of a reading. */
export type SparkPoint =
  | number
  | null
  | { at?: string; value?: number; systolic?: number | null; diastolic?: number | null; glucose?: number | string | null };

/** Why somebody is where they are in the worklist: text, or codes that the page puts into words. */
export type Why =
  | string
  | { concept?: string; ruleId?: string; severity?: Severity; text?: string; numbers?: Record<string, unknown>; [key: string]: unknown };

export interface WorklistRow {
  id: string;
  name: string;
  birthDate?: string | null;
  sex?: string | null;
  tags?: string[];
  conditions?: string[];
  severity?: Severity | null;
  latest?: Reading | null;
  lastReadingAt?: string | null;
  openAlerts?: number | { id: string; severity?: Severity }[];
  why?: Why | null;
  spark?: SparkPoint[];
}

export interface Patient {
  id: string;
  name: string;
  birthDate?: string | null;
  sex?: string | null;
  tags?: string[];
  conditions?: string[];
  phone?: string | null;
  teamId?: string | null;
  timeZone?: string | null;
  visitedOn?: string | null;
}

export interface Plan {
  targets?: { homeSystolic?: number; homeDiastolic?: number; fastingLow?: number; fastingHigh?: number; postMealHigh?: number };
  measuring?: { bloodPressurePerWeek?: number; glucosePerWeek?: number };
  medications?: { name: string; class?: string; from?: string | null; to?: string | null }[];
  parameters?: Record<string, Record<string, number>>;
}

export interface Alert {
  id: string;
  patientId: string;
  patientName?: string;
  patientPhone?: string | null;
  concept: string;
  severity: Severity;
  state: AlertState;
  ruleId: string;
  ruleVersion?: number | string;
  raisedAt: string;
  level?: number;
  cycle?: number;
  nextAt?: string | null;
  count?: number;
  owner?: string | null;
  ownerName?: string | null;
  exhausted?: boolean;
  snoozedUntil?: string | null;
  heldUntil?: string | null;
  inhibitedBy?: string | null;
  previousId?: string | null;
  /** Readings that are far from the person's own. */
  doubtful?: number;
}

export interface TimelineEvent {
  at: string;
  event: string;
  by?: string | null;
  byName?: string | null;
  detail?: unknown;
}

export interface Delivery {
  id: string;
  type?: string;
  channel: string;
  userId?: string | null;
  userName?: string | null;
  address?: string;
  level?: number;
  cycle?: number;
  attempts?: number;
  state: string;
}

export interface Evidence {
  readings?: (string | (Partial<Reading> & { readingId?: string }))[];
  excluded?: ({ readingId?: string; id?: string; reason?: string; reading?: Reading } | string)[];
  [key: string]: unknown;
}

export interface AlertDetail extends Alert {
  patient?: Patient;
  evidence?: Evidence | null;
  clears?: unknown;
  timeline?: TimelineEvent[];
  deliveries?: Delivery[];
}

export interface Finding {
  id: string;
  ruleId: string;
  ruleVersion?: number | string;
  concept: string;
  severity: Severity;
  verdict?: string;
  at: string;
  effectiveAt?: string;
  closes?: boolean;
  alertId?: string | null;
  readingIds?: string[];
  retractedAt?: string | null;
}

export interface Books {
  accepted: number;
  stored: number;
  duplicate: number;
  quarantined: number;
  rejected: number;
}

export interface Pipeline {
  stages?: unknown;
  accounting?: { day?: string; total?: Partial<Books>; devices?: (Partial<Books> & { device?: string })[] };
  asOf?: string;
  evaluatedAt?: string | null;
  [key: string]: unknown;
}
