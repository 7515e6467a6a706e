import { authorization, signature, stringToSign } from "../../src/cli/signing";

const KEY = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
const VERSION = ["api-version", "2014-10-01.1.0"] as const;
const AT = "Thu, 09 Jul 2015 21:07:08 GMT";

// The vectors of the reference: the text that is signed with ~ for LF, and its signature.
const VECTORS = [
  {
    request: { method: "GET", path: "/pools", query: [["timeout", "30"], VERSION], headers: { "ocp-date": "Thu, 09 Jul 2015 19:31:21 GMT", Date: "Thu, 09 Jul 2015 19:00:00 GMT", "client-request-id": "x" } },
    text: "GET~~~~~~~~~~~~ocp-date:Thu, 09 Jul 2015 19:31:21 GMT~/myaccount/pools~api-version:2014-10-01.1.0~timeout:30",
    signed: "7s4sXN5GDgpGkdzgib8WPM7SrQgeZPBCANabLiBOX4U=",
  },
  {
    request: { method: "post", path: "/pools/p1", query: [["resize", ""], VERSION], headers: { "Ocp-Date": AT, "Content-Length": "45", "Content-Type": "application/json;odata=minimalmetadata" } },
    text: `POST~~~45~~application/json;odata=minimalmetadata~~~~~~~ocp-date:${AT}~/myaccount/pools/p1~api-version:2014-10-01.1.0~resize:`,
    signed: "SprPKeVY5mJOckMuKrEqpEwTnF5VaA6TkBlDzu4YhjE=",
  },
  {
    request: { method: "DELETE", path: "/pools/p1", query: [VERSION], headers: { "ocp-date": AT, "content-length": "0", "if-match": "0x8D28894F80EA52E" } },
    text: `DELETE~~~0~~~~~0x8D28894F80EA52E~~~~ocp-date:${AT}~/myaccount/pools/p1~api-version:2014-10-01.1.0`,
    signed: "hmBdsYTCZTVQ6BFV1vc8z+b9+IjxZHl2rEqCrFkEi8Q=",
  },
  {
    request: { method: "GET", path: "/workitems/w1/jobs/job-0000000001/tasks/t1/files/wd%5Ca%20b.txt", query: [VERSION], headers: { "ocp-range": "bytes=0-9", "ocp-date": AT } },
    text: `GET~~~~~~~~~~~~ocp-date:${AT}~ocp-range:bytes=0-9~/myaccount/workitems/w1/jobs/job-0000000001/tasks/t1/files/wd/a%20b.txt~api-version:2014-10-01.1.0`,
    signed: "fm4oELHTGwSub8upfi3se8MSYlzwLkEXt5VeI4qFI2U=",
  },
] as const;

test.each(VECTORS)("$request.method $request.path: the text and its signature are those of the reference", ({ request, text, signed }) => {
  const toSign = stringToSign("myaccount", request);
  expect(toSign.replaceAll("\n", "~")).toBe(text);
  expect(signature(KEY, toSign)).toBe(signed);
  expect(authorization("myaccount", KEY, request)).toBe(`SharedKey myaccount:${signed}`);
});

test("without ocp-date the date line is signed", () => {
  const text = stringToSign("a", { method: "GET", path: "/pools", query: [], headers: { date: AT } });
  expect(text.split("\n")[6]).toBe(AT);
});

test("parameters of one name are joined, and folded white space becomes one blank", () => {
  const text = stringToSign("a", { method: "GET", path: "/p", query: [["B", "2"], ["a", "1"], ["b", "3"]], headers: { "ocp-x": " one\r\n  two " } });
  expect(text.split("\n").slice(-4)).toEqual(["ocp-x:one two", "/a/p", "a:1", "b:2,3"]);
});
