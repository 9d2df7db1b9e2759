/** Files of a study's folder; every data set has a folder of its own beside them. */
export const STUDY_FILES = { study: 'study.json', report: 'report.html', selfTest: 'self-test.json', transfer: 'transfer.json', transferStage: 'transfer-stage.json' } as const;
