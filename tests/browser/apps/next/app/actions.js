"use server";

import { headers } from "next/headers";

export async function shout(_previous, form) {
  const host = (await headers()).get("x-forwarded-host");
  return { text: String(form.get("word")).toUpperCase(), host };
}
