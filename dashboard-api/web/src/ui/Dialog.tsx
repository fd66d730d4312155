// A modal dialog on the browser's own element: focus is held inside, Escape closes, focus returns to where it was.
import type { ComponentChildren, JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { t } from "../i18n";

interface Props {
  title: string;
  submit: string;
  busy: boolean;
  onSubmit: () => void;
  onClose: () => void;
  children: ComponentChildren;
}

export function Dialog({ title, submit, busy, onSubmit, onClose, children }: Props): JSX.Element {
  const element = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const dialog = element.current;
    const before = document.activeElement;
    if (dialog && !dialog.open) dialog.showModal();
    return () => {
      if (before instanceof HTMLElement) before.focus();
    };
  }, []);
  return (
    <dialog ref={element} aria-label={title} onCancel={(e) => { e.preventDefault(); onClose(); }}>
      <form method="dialog" onSubmit={(e) => { e.preventDefault(); onSubmit(); }}>
        <h2>{title}</h2>
        {children}
        <p class="buttons">
          <button type="submit" class="primary" disabled={busy}>{submit}</button>
          <button type="button" onClick={onClose}>{t.value.cancel}</button>
        </p>
      </form>
    </dialog>
  );
}
