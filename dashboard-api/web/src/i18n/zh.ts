// Every word on the pages, in Chinese first. The English catalogue has the same type, so a missing key does not compile.

import { rulesZh } from "./rules-zh";

/** Words by code; a code that nobody knows is shown as it is. */
export type Words = Record<string, string>;

const concepts: Words = {
  bp_crisis: "血压危象", bp_low: "血压过低", bp_sustained: "血压持续超标", bp_overtreated: "血压可能过度治疗",
  bp_morning: "清晨血压偏高", bp_trend_up: "血压上升趋势", bp_trend_down: "血压下降趋势", bp_variability: "血压波动大",
  pulse_irregular: "脉搏不齐", glucose_low_severe: "严重低血糖", glucose_low: "低血糖", glucose_high_critical: "血糖极高",
  glucose_low_pattern: "反复低血糖", glucose_fasting_high: "空腹血糖超标", glucose_postmeal_high: "餐后血糖超标",
  glucose_trend_up: "血糖上升趋势", glucose_variability: "血糖波动大", device_quality: "设备或测量质量",
  adherence: "未按计划测量", no_response: "无人响应", follow_up_due: "随访到期", pregnancy_bp: "妊娠期血压",
};

const reasons: Words = {
  body_movement: "测量时身体移动", cuff_loose: "袖带过松", irregular_pulse: "脉搏不齐", pulse_too_high: "脉率过高",
  pulse_too_low: "脉率过低", improper_position: "姿势不当", low_battery: "电量低", sensor_malfunction: "传感器故障",
  sample_insufficient: "血样不足", strip_error: "试纸错误", temperature_high: "温度过高", temperature_low: "温度过低",
  read_interrupted: "读取中断", general_fault: "设备故障", time_fault: "设备时钟异常", control_solution: "质控液",
  zone_suspect: "时区可疑", personal_outlier: "与本人以往差异过大", flagged: "已标记", excluded: "不用于临床",
  first_day: "首日测量", too_old: "时间过早", outside_window: "超出时间窗", not_over_limit: "未超过界值", no_value: "没有数值", implausible: "数值不合理",
};

export const zh = {
  lang: "zh-CN",
  product: "Hearthbeat 居家监测",
  skip: "跳到正文",
  nav: { label: "主导航", worklist: "患者", alerts: "告警", rules: "规则", ops: "运行", me: "我的" },
  comma: "、", language: "语言", logout: "退出登录", account: (name: string) => `当前用户：${name}`,
  footer: "本系统不是医疗器械，也不是急救服务。紧急情况请立即拨打 120。",
  loading: "正在读取…", again: "重试", more: "显示更多", none: "无", close: "关闭", cancel: "取消", notFoundTitle: "没有这个页面",
  notFoundText: "地址不存在，或者不在您的权限范围内。", backHome: "回到患者列表", forbidden: "您的角色不能查看此页。",
  failed: (why: string) => `未能完成：${why}`, failedPlain: "未能完成，请重试。", tooOld: "数据在别处已更改，已重新读取。",
  banner: {
    asOf: (t: string) => `数据截至 ${t}`, evaluated: (t: string) => `最近评估 ${t}`, live: "实时更新", lost: "实时连接中断，正在重连；每 30 秒重新读取",
    offline: "无法连接服务器。页面上的数据可能已过时。", stale: (t: string) => `规则评估自 ${t} 起没有进展：此页可能遗漏新的告警，请通知运维。`,
    unwell: (names: string) => `服务未就绪（${names}）：此页可能遗漏新的读数或告警，请通知运维。`,
    zone: (z: string) => `时间按 ${z}`,
  },
  login: {
    title: "登录", username: "用户名", password: "密码", submit: "登录", busy: "正在登录…", wrong: "用户名或密码不正确。",
    tooMany: (m: number) => `尝试次数过多，请约 ${m} 分钟后再试。`, intro: "家庭医生团队的居家血压与血糖监测",
  },
  severity: { critical: "危急", urgent: "紧急", routine: "关注", info: "信息", none: "无告警", nodata: "无数据" },
  state: {
    open: "待通知", notified: "已通知", acknowledged: "已确认", follow_up: "随访中", resolved: "已处置", auto_resolved: "自动解除", expired: "已过期",
  },
  sex: { female: "女", male: "男", other: "其他" } as Words,
  years: (n: number) => `${n} 岁`,
  worklist: {
    title: "患者", severity: "级别", name: "姓名", who: "性别/年龄", why: "原因", last: "最近读数", trend: "近 14 天", open: "未结告警", search: "姓名搜索",
    tag: "标签", allTags: "全部标签", noData: "7 天以上无数据", empty: "没有符合条件的患者。", never: "从未测量", count: (n: number, more: boolean) => `已显示 ${n} 人${more ? "，还有更多" : ""}`,
    weekMean: (v: string) => `上周平均 ${v}`, alerts: (n: number) => `${n} 个`, silent: (d: number) => `${d} 天未测量`, spark: (n: number) => `近 14 天趋势，${n} 个点`, noWhy: "无待处理事项", sort: "按风险排序",
  },
  inbox: {
    title: "告警", scope: "范围", mine: "我的", team: "本团队", all: "全部", state: "状态", active: "未结", allStates: "所有状态", severity: "级别", anySeverity: "所有级别",
    empty: "没有符合条件的告警。", due: (t: string) => `${t} 后升级`, told: (t: string) => `${t} 后通知`, overdue: (t: string) => `已超时 ${t}`, owner: "负责人", unowned: "无人负责", raised: "发生", level: (n: number) => `第 ${n} 级`,
    readings: (n: number) => `${n} 次超限`, doubtful: (n: number) => `${n} 次与本人以往差异过大`, onlyDoubtful: "只看存疑", exhausted: "通知链已走完，仍无人确认", table: "告警列表", patient: "患者", what: "事项", clock: "时限", escalated: "已升级",
  },
  alert: {
    title: "告警详情", call: "拨打电话", noPhone: "没有登记电话", openChart: "查看图表", owner: "负责人", unowned: "尚无人负责", raised: "发生时间", next: "下一步", level: "通知级别", cycle: "轮次", count: "超限读数",
    doubtful: (n: number) => `${n} 次读数与本人以往差异过大，可能是他人测量：请核实是谁测的。`,
    snoozed: (t: string) => `暂缓至 ${t}`, held: (t: string) => `暂留至 ${t}`, inhibited: "因更严重的告警暂不通知", exhausted: "通知链已走完，仍无人确认：请立即处理。", previous: "上一次告警",
    actions: "处理", ack: "确认收到", contact: "已联系患者", resolve: "处置完成", snooze: "暂缓", comment: "添加备注",
    ackHint: "确认后停止升级，您成为负责人；60 分钟内请记录与患者的联系。", contactAcks: "记录联系的同时视为确认收到。", contactTitle: "与患者的联系", how: "联系方式", note: "备注", due: "下次随访", hows: { phone: "电话", visit: "上门", clinic: "门诊", message: "消息" } as Words,
    resolveTitle: "处置结果", outcome: "结果", outcomes: { treated: "已治疗或调整用药", referred: "已转诊", false_reading: "误测", unreachable: "联系不上", other: "其他" } as Words,
    save: "保存结果", snoozeFor: "暂缓时长", minutes: (n: number) => `${n} 分钟`, commentText: "备注内容",
    done: { ack: "已确认收到。", followUp: "已记录与患者的联系。", resolve: "处置结果已保存。", snooze: "已暂缓。", comment: "备注已添加。" },
    conflict: (s: string) => `不能执行：告警目前为“${s}”。`, why: "为什么不可用", disabledAck: "已确认或已结束", disabledContact: "已结束", disabledResolve: "请先确认收到",
    evidence: "依据", used: "采用的读数", excluded: "未采用的读数", usedMark: "采用", ofOthers: (n: number) => `另有 ${n} 条读数已更正为他人的，此处不显示。`, rule: "规则", version: (v: string) => `版本 ${v}`, parameters: "参数", numbers: "计算结果", limits: "界值", name: "名称", value: "数值", source: "来源",
    guideline: "依据指南", clears: "何时解除", noEvidence: "没有附带依据。", timeline: "经过", deliveries: "通知记录", noDeliveries: "还没有发出通知。", channel: "渠道", to: "对象", attempts: "次数", message: "消息", result: "结果", bySystem: "系统", reason: "原因", you: "您",
    listOpen: "返回告警列表",
  },
  timeline: {
    raised: "触发", attached: "新读数加入", severity_raised: "级别升高", notified: "已通知", escalated: "升级", step_skipped: "跳过一级（无人可通知）", held: "暂留至开放时间", woken: "恢复提醒", snoozed: "暂缓",
    acknowledged: "确认收到", unacknowledged: "撤回确认", assigned: "指派", follow_up: "已联系患者", comment: "备注", resolved: "处置完成", auto_resolved: "自动解除", retracted: "依据撤回",
  } as Words,
  attachedMore: (n: string) => `又有 ${n} 条读数`,
  details: {
    "nobody can be reached": "无人可联系", "nobody of the whole chain can be reached": "整条通知链均无人可联系", "no contact was logged in time": "未按时记录联系", overdue: "已超时", digest: "每日汇总", "nobody can be reached for the digest": "无人可接收汇总",
    "every channel has failed": "所有渠道均失败", cleared: "已解除",
  } as Words,
  messages: { "alert.notification": "通知", "alert.acknowledged": "告知已确认", "alert.resolved": "告知已处置", "alert.digest": "每日汇总", "service.warning": "服务提醒" } as Words,
  delivery: { pending: "待发送", accepted: "渠道已接收", delivered: "已送达", read: "已读", failed_temp: "暂时失败，将重试", failed: "失败", cancelled: "已取消", expired: "已过期" } as Words,
  sources: { default: "默认", platform: "平台", centre: "中心", region: "区域", station: "站点", patient: "患者个人", plan: "患者计划", card: "规则卡" } as Words,
  patient: {
    title: "患者", range: "时间范围", days: (n: number) => `${n} 天`, all: "全部", phone: "电话", showPhone: "显示电话", conditions: "诊断", pressure: "血压", glucose: "血糖", showTable: "以表格显示", hideTable: "隐藏表格",
    noReadings: "此时段没有读数。", capped: (n: number) => `读数很多，只显示最近的 ${n} 条。`, plan: "目标与计划", targets: "目标", measuring: "测量计划", medications: "用药", noPlan: "使用默认目标和计划。", noMedications: "没有登记用药。",
    perWeekBp: (n: number) => `血压每周 ${n} 次`, perWeekBg: (n: number) => `血糖每周 ${n} 次`, home: (s: number, d: number) => `家庭血压 < ${s}/${d} mmHg`, fasting: (a: number, b: number) => `空腹血糖 ${a.toFixed(1)}–${b.toFixed(1)} mmol/L`,
    postMeal: (a: number) => `餐后血糖 < ${a.toFixed(1)} mmol/L`, defaultMark: "（默认）", parameters: "个人规则参数", alerts: "告警", findings: "规则结论", noAlerts: "没有告警。", noFindings: "没有结论。", retracted: "已撤回", since: (t: string) => `自 ${t}`, until: (t: string) => `至 ${t}`,
  },
  visit: {
    title: "面访", last: (day: string) => `最近一次面访：${day}`, none: "没有登记过面访。", day: "面访日期", write: "登记面访", written: (day: string) => `已登记 ${day} 的面访。`, failed: "没有保存成功，请重试。",
  },
  chart: {
    browse: "逐条查看读数，用左右方向键", time: "测量时间", value: "数值", pulse: "脉搏", pulseUnit: "次/分", meal: "时段", quality: "时间质量", mark: "标记", device: "设备", morning: "早晨", evening: "晚间", otherTime: "其他时间",
    excludedMark: "空心：未采用", irregular: "脉搏不齐", uncertain: "时间不确定", target: "目标", low: "低血糖界值 3.9", fastingMark: "空腹", postMark: "餐后", otherMeal: "其他", used: "采用", unused: "未采用",
    honesty: (used: number, out: number, why: string) => `采用 ${used} 条，未采用 ${out} 条${why ? `（${why}）` : ""}`,
    bpSummary: (span: string, n: number, mean: string, sd: string, share: number, target: string) => `${span}共 ${n} 条有效读数，平均 ${mean} mmHg（标准差 ${sd}），${share}% 低于目标 ${target}。`,
    halves: (am: string, pm: string) => `早晨平均 ${am}，晚间平均 ${pm}。`,
    bgSummary: (span: string, n: number, mean: string, low: number, high: number) => `${span}共 ${n} 条有效读数，平均 ${mean} mmol/L；低于 3.9 的 ${low} 条，高于目标的 ${high} 条。`,
    doubt: (what: string, mean: string, distance: string, n: number) => `${what}与本人前 90 天平均 ${mean} 相差 ${distance} 个标准差（${n} 次读数）：可能是他人测量`, onlyDoubtful: "只看存疑读数",
    beyond: (hi: number, lo: number) => `超出仪器范围：HI ${hi} 条，LO ${lo} 条。`, span: (d: number) => `近 ${d} 天`, spanAll: "全部时段", tableCount: (n: number, of: number) => `显示 ${n} / ${of} 条，新的在前`, systolic: "收缩压", diastolic: "舒张压",
  },
  summary: {
    title: "数据汇总", what: "项目", value: "数值", rests: "依据", readings: (n: number) => `${n} 次读数`, all: "全部平均", morning: "早晨（4–12 时）", evening: "晚间（16 时后）", difference: "早晨减晚间", systolic: "收缩压",
    week: (from: string, to: string) => `指南七日均值（${from} 至 ${to}，不计首日）`, weekRests: (n: number, days: number) => `${days} 天 ${n} 次读数`, notEnough: "数据不足", inTarget: (s: number, d: number) => `低于目标 ${s}/${d} 的比例`,
    dayToDay: "早晨收缩压日间变异系数", mornings: (n: number) => `${n} 个早晨`, arv: "平均真实变异（ARV，收缩压）", leftOut: (flagged: number, excluded: number) => `未计入：已标记 ${flagged} 次，不用于临床 ${excluded} 次`,
    single: "单次测量", cv: "变异系数", veryHigh: "高于 13.9", above: "高于 10.0", within: "3.9–10.0", below: "低于 3.9", veryLow: "低于 3.0",
    sensor: "动态血糖", fortnight: "最近 14 天", coverage: (days: number, percent: number) => `${days} 天，覆盖 ${percent}%`, agp: (low: string, high: string, n: number) => `一天中各时段的中位数在 ${low} 至 ${high} mmol/L 之间；深色为中间一半，浅色为 5%–95%，共 ${n} 个数值。`,
    meals: { fasting: "空腹", after_breakfast: "早餐后", before_lunch: "午餐前", after_lunch: "午餐后", before_dinner: "晚餐前", after_dinner: "晚餐后", bedtime: "睡前", night: "夜间", before_meal: "餐前（未注明哪餐）", after_meal: "餐后（未注明哪餐）", unsaid: "未注明" } as Words,
  },
  meals: { fasting: "空腹", before_meal: "餐前", after_meal: "餐后", bedtime: "睡前", casual: "随机", night: "夜间" } as Words,
  qualities: { exact: "准确", corrected: "已校正", assumed: "按本地时区", received: "以收到时间代替" } as Words,
  results: { stored: "采用", flagged: "已标记", excluded: "不用于临床" } as Words,
  classes: {
    insulin: "胰岛素", sulfonylurea: "磺脲类", biguanide: "双胍类", calcium_channel_blocker: "钙通道阻滞剂", ace_inhibitor: "ACE 抑制剂", diuretic: "利尿剂", beta_blocker: "β 受体阻滞剂", other: "其他",
  } as Words,
  conditions: { hypertension: "高血压", diabetes: "糖尿病", chronic_kidney_disease: "慢性肾病", pregnancy: "妊娠" } as Words,
  roles: { gp: "家庭医生", specialist: "专科医生", health_manager: "健康管理师", assistant: "助理", station_admin: "站点管理员", region_admin: "区域管理员", ops: "运维", auditor: "审计", patient: "患者" } as Words,
  verdicts: { page: "已通知", note: "仅记录" } as Words,
  concepts, reasons,
  numbers: {
    systolic: "收缩压", diastolic: "舒张压", pulse: "脉搏", glucose: "血糖", n: "读数", mean: "平均", hours: "无读数时长", planned: "计划次数", sessions: "测量次数", days: "天数", sd: "标准差", week: "周", weeks: "周数",
    week1Systolic: "前一周收缩压", week1Diastolic: "前一周舒张压", week1Sessions: "前一周测量次数", week2Systolic: "后一周收缩压", week2Diastolic: "后一周舒张压", week2Sessions: "后一周测量次数", limit: "界值", window: "时间窗", hold: "静默期", normals: "需几次正常复测", worse: "加重幅度", critical: "危急界值", age: "年龄",
    recovered: "恢复界值", gap: "测量间隔上限", share: "计划完成比例", margin: "解除余量", homeSystolic: "家庭收缩压目标", homeDiastolic: "家庭舒张压目标", urgentSystolic: "紧急：收缩压超出目标", urgentDiastolic: "紧急：舒张压超出目标", dizzy: "伴头晕的收缩压界值",
    remind: "提醒患者", call: "交健康管理师", inform: "告知医生", perWeek: "每周计划", battery: "低电量界值", batteryPercent: "电量", outage: "本服务中断计入比例", outageHours: "本服务中断时长",
  } as Words,
  units: { min: "分钟", h: "小时", d: "天", count: "次", years: "岁", ratio: "", per_week: "次/周", "%": "%" } as Words,
  rules: rulesZh,
  password: {
    must: "您正在使用一次性密码。", change: "修改密码", current: "当前密码", next: "新密码", done: "密码已修改。", short: "新密码至少 8 个字符。",
  },
  me: {
    title: "我的健康", hello: (n: string) => `${n}，您好`, latestBp: "最近一次血压", latestBg: "最近一次血糖", at: (t: string, age: string) => `${t}（${age}）`, none: "还没有读数。测量后会自动出现在这里。", strip: "最近 7 天", measured: "已测", notMeasured: "未测",
    bp: {
      low: "偏低。请坐下休息，感觉头晕请告诉您的医生团队。", ok: "在您的目标之内。", high: "高于您的目标。偶尔一次不必担心，请按计划继续测量。", veryHigh: "很高。请安静坐 5 分钟后再测两次，每次间隔 1–2 分钟。医生团队会收到这些读数。",
    },
    bg: { veryLow: "过低。请立即吃 15 克糖（如半杯果汁），15 分钟后再测；身边最好有人陪伴。", low: "偏低。请吃些含糖食物，15 分钟后再测。", ok: "在目标之内。", high: "高于目标。请按计划继续测量。", veryHigh: "很高。请洗手后 15–30 分钟内再测一次，多喝水。" },
    emergencyTitle: "何时拨打 120", emergency: ["胸痛、呼吸困难或大汗", "说话不清、嘴歪、一侧手脚无力或麻木", "突然剧烈头痛、看东西模糊或意识不清", "血糖过低且无法进食或叫不醒"], not: "本页面不是急救服务，医生不会随时看着它。有以上情况请立即拨打 120。", callButton: "拨打 120", notPatient: "此页供患者本人使用。", unit: "单位",
  },
  ops: {
    title: "运行", pipeline: "流水线", stage: "阶段", in: "进", out: "出", lag: "滞后", errors: "错误", accounting: "当日账目", day: (d: string) => `日期 ${d}`, accepted: "接收", stored: "存储", duplicate: "重复", quarantined: "隔离", rejected: "拒绝", device: "设备", total: "合计",
    balanced: "账目相符：接收 = 存储 + 重复 + 隔离 + 拒绝", unbalanced: (d: number) => `账目不符，相差 ${d}`, devices: "按设备", health: "检查", ok: "正常", bad: "异常", noStages: "服务没有报告阶段。", refresh: "每 5 秒刷新",
    stages: { broker: "接入", edge: "接入", ingest: "接收", journal: "日志", store: "存储", series: "时序", projector: "投影", rules: "规则", alerts: "告警", api: "接口", dashboard: "页面", dispatcher: "发送", outbox: "发件箱", upstream: "上级 MQTT 服务器", questdb: "QuestDB", books: "账目复核" } as Words,
    checks: { journal: "日志", registry: "登记库", router: "转发", rules: "规则", alerts: "告警", books: "账目", broker: "接入", questdb: "QuestDB", upstream: "上级 MQTT 服务器" } as Words,
    upstream: {
      connecting: "正在连接", unreachable: "连接不上：请检查地址、端口和防火墙", timeout: "连接超时：请检查地址、端口和防火墙", refused: "拒绝登录：请检查用户名、密码文件和对方的规则",
      tls: "TLS 证书不被信任：请检查 ca_file 和地址中的主机名", password_file: "密码文件无法读取", closed: "连接被断开，正在重连", silent: "对方没有回应，正在重连", sent_away: "对方要求断开，正在重连",
      subscription_refused: "对方不允许读取 hb/v1/devices/# 和 hb/v1/gateways/#", not_durable: "本机磁盘无法写入：不确认，由对方保留", unreadable_packet: "对方发来的不是 MQTT 报文：其后的数据进不来", unconfirmed: "对方没有确认收到下行消息，正在重连", protocol: "协议错误，正在重连",
    } as Words,
  },
};

/** What a catalogue must have. */
export type Messages = typeof zh;
