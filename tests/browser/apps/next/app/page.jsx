import { shout } from "./actions.js";
import { Greeter } from "./greeter.jsx";

export default function Page() {
  return (
    <main>
      <Greeter shout={shout} />
    </main>
  );
}
