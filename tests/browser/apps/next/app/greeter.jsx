"use client";

import { useActionState, useEffect, useState } from "react";
import { message } from "./message.js";

export function Greeter({ shout }) {
  const [answer, submit] = useActionState(shout, { text: "" });
  const [hydrated, setHydrated] = useState(false);
  useEffect(() => setHydrated(true), []);
  return (
    <form action={submit} data-hydrated={hydrated}>
      <p id="message">{message}</p>
      <input id="word" name="word" defaultValue="quiet" />
      <button id="shout">Shout</button>
      <output id="answer">{answer.text}</output>
    </form>
  );
}
