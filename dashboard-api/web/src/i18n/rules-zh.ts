// The words of the pages about rules, and of every number on a card. A name that means something else on one card has a
// word of its own there: `GLU-V1.limit`.
import type { Words } from "./zh";

const parameters: Words = {
  systolic: "收缩压界值", diastolic: "舒张压界值", window: "等待复测的时间", normals: "几次复测正常即解除", hold: "提醒后多久内不再重复提醒",
  worse: "静默期内再高出多少仍然提醒", dizzy: "两种以上降压药并伴头晕时的收缩压界值", homeSystolic: "家庭收缩压目标", homeDiastolic: "家庭舒张压目标",
  share: "至少完成计划测量的比例", days: "至少有数据的天数", gap: "相隔多久以内算同一次测量", urgentSystolic: "收缩压高出目标多少为紧急", urgentDiastolic: "舒张压高出目标多少为紧急",
  margin: "低于目标多少才解除", limit: "血糖界值", critical: "危急界值", recovered: "恢复到多少算好转", age: "按老年人对待的年龄", perWeek: "每周计划测量次数",
  remind: "多久没有测量提醒患者", call: "多久没有测量由健康管理师联系", inform: "多久没有测量告知医生", low: "收缩压过低界值", oldLow: "老年人收缩压过低界值",
  difference: "早晚收缩压相差", gate: "变化至少多大才提醒", urgent: "变化达到多少为紧急", near: "距目标多少以内才提醒医生", below: "近期收缩压低于多少才提醒", doses: "加药后多久内不提醒",
  denseFrom: "每周测多少次算“密”", mediumFrom: "每周测多少次算“中”", denseLimit: "统计界限（密）", mediumLimit: "统计界限（中）", sparseLimit: "统计界限（疏）",
  denseRecent: "近期至少天数（密）", denseReference: "对照期至少天数（密）", mediumRecent: "近期至少天数（中）", mediumReference: "对照期至少天数（中）", sparseRecent: "近期至少天数（疏）", sparseReference: "对照期至少天数（疏）",
  priorDays: "先验相当于多少天", priorVariance: "先验方差", settle: "换药后多久重新计算", readings: "一次测量中几条不齐", sessions: "几天出现", fast: "脉率过快界值", slow: "脉率过慢界值",
  severe: "严重低血糖界值", night: "夜间（0 点起）", values: "至少几个数值", fastingHigh: "空腹血糖上限", postMealHigh: "餐后血糖上限", missed: "漏服次数", times: "7 天内几次测量问题", constant: "连续几个相同数值",
  "BP-V1.limit": "早晨收缩压变异系数界值", "GLU-V1.limit": "低血糖指数 LBGI 界值", "GLU-V1.urgent": "LBGI 达到多少为紧急", "GLU-T1.gate": "变化至少多大才提醒（比例）", "GLU-S2.share": "至少多少比例超标",
  "BP-S3.days": "至少几天", "PUL-1.days": "脉率异常的天数", "PUL-1.sessions": "脉搏不齐出现的天数", "GLU-H1.days": "出现低血糖的天数", "GLU-H1.window": "观察多少天", "GLU-H1.limit": "低血糖界值",
};

export const rulesZh = {
  title: "规则", one: "规则", intro: "系统按这些规则判断居家读数。每条规则的数字由两人确认后才生效；生效前可在过去的数据上试算。",
  id: "编号", says: "内容", version: "版本", state: "状态", groups: { blood_pressure: "血压", blood_glucose: "血糖", any: "测量与设备" } as Words,
  waiting: "有草稿待确认", planned: (at: string) => `${at} 起变更`, ownValues: (n: number) => `${n} 处有自己的数值`, asInstalled: "出厂内容，未经本机构修改", signedBy: (a: string, b: string, at: string) => `由 ${a} 起草、${b} 确认，自 ${at} 起生效`,
  rolledBack: (by: string, at: string) => `由 ${by} 于 ${at} 退回到先前版本`,
  what: "规则内容", clears: "何时解除", guideline: "依据", numbers: "数值", number: "数值", bounds: "允许范围", owner: "谁可更改", source: "出处",
  owners: { platform: "平台（两人确认）", station: "站点（两人确认）", patient: "医生可为个别患者设定" } as Words,
  values: "站点与人群自己的数值", valuesHint: "优先次序：患者个人 > 人群 > 站点 > 平台。", everybody: "所有患者", place: (name: string) => name, tag: (tag: string) => `标签“${tag}”的患者`, tagAt: (tag: string, name: string) => `${name}中标签“${tag}”的患者`,
  change: "修改数值", changeHint: "改动先存为草稿，由另一位有权限的人确认后生效；您不能确认自己的草稿。", forWhom: "适用于", tagLabel: "仅限带此标签或诊断的患者（可不填）", from: "何时生效（空：确认后立即）", note: "修改理由", saveDraft: "存为草稿", noChange: "还没有改动任何数值。", saved: "草稿已保存，等待另一人确认。",
  technical: "更多统计参数", nothingHere: "此范围内没有可以修改的数值。", mayNot: "您的角色不能修改规则，可以试算。",
  drafts: "草稿", scheduled: "已确认，尚未生效", history: "历史版本", noDrafts: "没有待确认的草稿。", draftOf: (who: string, at: string) => `${who} 起草于 ${at}`, approvedBy: (who: string, at: string) => `${who} 确认于 ${at}`, fromAt: (at: string) => `${at} 起生效`,
  fromApproval: "确认后立即生效", approve: "确认生效", withdraw: "撤回", rollback: "退回上一版本", ownDraft: "您起草的，须由另一人确认。", changes: (name: string, a: string, b: string) => `${name}：${a} → ${b}`, textChanged: "文字有修改", nothingChanged: "与现行数值相同", backTo: "退回到先前版本", installed: "恢复为出厂内容",
  confirmApprove: "确认这份草稿？", confirmApproveText: "生效后，系统按新数值判断此后的读数；已有结论不变。", confirmRollback: "退回上一版本？", confirmRollbackText: "立即生效，无需第二人；会记入审计。", done: { approve: "已确认。", withdraw: "已撤回。", rollback: "已退回上一版本。" },
  rehearse: "在过去的数据上试算", rehearseHint: "只计算，不产生任何提醒或记录。用药和个人目标按今天的计划算。", tryDraft: "试算此草稿", run: "开始试算", stop: "停止", days: "时间段", lastDays: (n: number) => `过去 ${n} 天`, progress: (n: number, of: number) => `已算 ${n} / ${of} 名患者`, stopped: "试算已停止。",
  did: "实际", would: "若按新数值", told: "提醒医务人员", people: "涉及患者", perWeek: "每周", perMonth: "每患者每月", severities: "危急 / 紧急 / 关注", notOnly: "其他受影响的规则", weekly: "每周提醒次数", week: "周（周一起）", sample: (n: number, of: number) => `共 ${of} 名患者，按随机编号取 ${n} 名。`,
  examples: "举例", change2: { new: "新增", gone: "不再出现", changed: "级别改变" } as Words, when: "时间", patient: "患者", numbersUsed: "数值", same: "与实际完全相同。",
  parameters,
};

/** What a catalogue of rules must have. */
export type RuleMessages = typeof rulesZh;
