// Sends the mail described by the JSON on standard input, as an application would; prints what
// Nodemailer reports. Exit code 1 when it throws.
import { readFileSync } from "node:fs";
import nodemailer from "nodemailer";

const task = JSON.parse(readFileSync(0, "utf8"));
const transport = nodemailer.createTransport({
  host: task.host,
  port: task.port,
  secure: false,
  requireTLS: true,
  auth: { user: task.user, pass: task.password },
});
const mail = { from: task.from, to: task.to, bcc: task.bcc, subject: task.subject, text: task.text };
if (task.html) mail.html = task.html;
if (task.attachment) mail.attachments = [{ path: task.attachment }];

try {
  const info = await transport.sendMail(mail);
  console.log(info.response);
  for (const refusal of info.rejectedErrors ?? []) console.log(refusal.response);
  process.exitCode = info.rejected.length ? 1 : 0;
} catch (error) {
  console.log(error.message);
  process.exitCode = 1;
}
