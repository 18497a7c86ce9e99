export const message = "before the edit";
