// The pages of rules in a real browser: a doctor reads what a rule says, tries another number on the past, drafts it; the
// medical lead signs it and takes it back. Run: HEARTHBEAT=target/release/hearthbeat node tests/browser/rules.mjs
// SCREENSHOTS=FOLDER keeps pictures. Prints "N passed, N failed" at the end; exit 1 on a failure.
import { chromium } from "playwright-core";
import { check, finish, need, shot } from "./checks.mjs";
import { bp, PASSWORD, Service } from "./service.mjs";

const BINARY = process.env.HEARTHBEAT ?? "target/release/hearthbeat";

async function logged(browser, s, who, options = {}) {
  const context = await browser.newContext({ locale: "zh-CN", timezoneId: "Europe/London", viewport: { width: 1280, height: 900 }, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(10_000);
  await page.goto(`${s.base}/login?next=%2Frules`);
  await page.getByLabel("用户名", { exact: true }).fill(who);
  await page.getByLabel("密码", { exact: true }).fill(PASSWORD);
  await page.getByRole("button", { name: "登录", exact: true }).click();
  await page.waitForURL(/\/rules$/);
  return page;
}

/** Four weeks in which one person's pressure is over 170 now and then, as it came. */
async function lived(s, ids) {
  const home = await s.home(ids.team, "王建国", { sex: "male" });
  for (let day = 2; day < 30; day += 1) {
    const at = `2026-03-${String(day).padStart(2, "0")}`;
    await s.ask("POST", "/test/clock", { to: `${at}T08:00:00+08:00` }, null);
    const high = day % 5 === 0;
    await s.measure(home, bp(`${at}T07:40:00+08:00`, high ? 173 : 132, high ? 92 : 82), bp(`${at}T07:43:00+08:00`, high ? 174 : 130, high ? 92 : 80));
    await s.settle();
  }
}

const s = await Service.start(BINARY, "2026-03-02T07:00:00+08:00");
let browser;
try {
  const ids = await s.district();
  await lived(s, ids);
  browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox"] });
  const lead = await logged(browser, s, "specialist-1");

  await check("the list says each rule in words, by what it looks at", async () => {
    const table = lead.getByRole("table", { name: "血压" });
    await table.getByRole("row", { name: /血压危急值/ }).getByText("收缩压 >= 180 或舒张压 >= 110").waitFor();
    need((await lead.getByRole("table").count()) === 3, "pressure, glucose, measuring");
    await shot(lead, "rules");
  });

  await check("a rule tells its numbers, their bounds and who may change them", async () => {
    await lead.getByRole("link", { name: "血压危急值" }).click();
    await lead.getByRole("heading", { level: 1, name: "血压危急值" }).waitFor();
    const row = lead.getByRole("table", { name: "数值", exact: true }).getByRole("row", { name: /收缩压界值/ });
    await row.getByText("180 mmHg", { exact: true }).waitFor();
    await row.getByText("160 mmHg – 220 mmHg").waitFor();
    await row.getByText("NBPHS").waitFor();
  });

  await check("another number is tried on the past: told, patients, weeks, examples", async () => {
    await lead.getByLabel(/^收缩压界值/).fill("170");
    await lead.getByRole("button", { name: "在过去的数据上试算" }).click();
    const table = lead.getByRole("table", { name: "在过去的数据上试算" });
    await table.waitFor();
    await shot(lead, "rehearsal");
    await table.getByRole("row", { name: /涉及患者 0 1/ }).waitFor();
    await lead.getByRole("img", { name: "每周提醒次数" }).waitFor();
    await lead.getByRole("table", { name: "举例" }).getByRole("link", { name: "王建国" }).first().waitFor();
    await shot(lead, "rehearsal");
  });

  await check("saved, it is a draft that its author cannot sign", async () => {
    await lead.getByLabel("修改理由").fill("先复测，少漏诊");
    await lead.getByRole("button", { name: "存为草稿" }).click();
    const drafts = lead.getByRole("region", { name: "草稿" });
    await drafts.getByText("收缩压界值：180 mmHg → 170 mmHg").waitFor();
    await drafts.getByText("您起草的，须由另一人确认。").waitFor();
    need((await drafts.getByRole("button", { name: "确认生效" }).count()) === 0, "no button for the author");
    await shot(lead, "draft");
  });

  const desk = await logged(browser, s, "desk-1");
  await check("a second person signs it, and the rule says the new number at once", async () => {
    await desk.getByText("有草稿待确认").waitFor();
    await desk.getByRole("link", { name: "血压危急值" }).click();
    await desk.getByRole("button", { name: "确认生效" }).click();
    const dialog = desk.getByRole("dialog");
    await dialog.getByText("收缩压界值：180 mmHg → 170 mmHg").waitFor();
    await dialog.getByRole("button", { name: "确认生效" }).click();
    await desk.getByText("收缩压 >= 170 或舒张压 >= 110").first().waitFor();
    await shot(desk, "signed");
  });

  await check("one step takes it back, after being asked", async () => {
    await desk.getByRole("button", { name: "退回上一版本" }).click();
    await desk.getByRole("dialog").getByRole("button", { name: "退回上一版本" }).click();
    await desk.getByText("收缩压 >= 180 或舒张压 >= 110").first().waitFor();
    await desk.getByText("退回到先前版本").first().waitFor();
  });

  await check("a doctor of the station may draft for the station only, in English too", async () => {
    const gp = await logged(browser, s, "gp-1");
    await gp.goto(`${s.base}/rules/BP-S1?lang=en`);
    await gp.getByRole("heading", { level: 1, name: /Weekly mean/ }).waitFor();
    await gp.getByLabel(/^For/).locator("option").first().waitFor({ state: "attached" });
    const choices = await gp.getByLabel(/^For/).locator("option").allTextContents();
    need(choices.join() === "Station", `the choices are ${choices}`);
    await gp.getByLabel(/^Home systolic target/).fill("140");
    await gp.getByRole("button", { name: "Save draft" }).click();
    await gp.getByRole("region", { name: "Drafts" }).getByText("Home systolic target: 135 mmHg → 140 mmHg").waitFor();
    await shot(gp, "station-draft");
  });

  await check("on a phone nothing is wider than the screen", async () => {
    const phone = await logged(browser, s, "gp-1", { viewport: { width: 390, height: 844 } });
    for (const path of ["/rules", "/rules/BP-C1"]) {
      await phone.goto(s.base + path);
      await phone.getByRole("heading", { level: 1 }).waitFor();
      need(await phone.evaluate(() => document.documentElement.scrollWidth <= innerWidth), `${path} scrolls sideways`);
      await shot(phone, `phone${path.replaceAll("/", "-")}`);
    }
  });
} finally {
  await browser?.close();
  await s.stop();
}
finish();
